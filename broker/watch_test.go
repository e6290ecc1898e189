package broker_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/broker"
	"github.com/quaymaster/quaymaster/broker/audit"
	"github.com/quaymaster/quaymaster/inject"
)

func TestTreeEndsWithItsContainer(t *testing.T) {
	for _, end := range []inject.EventKind{inject.Died, inject.Removed} {
		onHost(t, func(t *testing.T, h *host) {
			h.store.put("shop/db", "password", "one")
			for _, id := range []string{"db", "web"} {
				h.engine.create(id, "quaymaster.secret.a", "vault:shop/db")
				h.starts(id)
			}
			h.reports(end, "db")
			h.hasNoTree("db")
			h.sees("web", "a", "one")
			h.reports(inject.Removed, "db") // again, and for one that was never known
			h.reports(inject.Removed, "ghost")
			h.wasLogged("level=ERROR", 0)
		})
	}
}

// A container that is removed before it started had a tree too.
func TestRemovedBeforeItStarted(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		h.store.put("shop/db", "password", "one")
		h.engine.create("db", "quaymaster.secret.a", "vault:shop/db")
		h.passes("db")
		h.reports(inject.Removed, "db")
		h.hasNoTree("db")
	})
}

// The end of one run, or even its beginning, is reported when the next has
// already passed the gate.
func TestLateEventsOfAnEarlierRun(t *testing.T) {
	for name, missed := range map[string]bool{"end": false, "beginning and end": true} {
		t.Run(name, func(t *testing.T) {
			onHost(t, func(t *testing.T, h *host) {
				h.store.put("shop/db", "password", "one")
				h.engine.create("db", "quaymaster.secret.a", "vault:shop/db")
				h.passes("db")
				if !missed {
					h.reports(inject.Started, "db")
				}
				happened := time.Now()
				h.sleep(time.Millisecond)
				h.passes("db") // the next run
				if missed {
					h.engine.report(inject.Started, "db", happened)
				}
				h.engine.report(inject.Died, "db", happened)
				h.sees("db", "a", "one")
				h.store.put("shop/db", "password", "two")
				h.sleep(refresh)
				h.sees("db", "a", "one") // it is not known to run
				h.reports(inject.Started, "db")
				h.sleep(time.Minute)
				h.sees("db", "a", "two")
				h.reports(inject.Died, "db")
				h.hasNoTree("db")
			})
		})
	}
}

// A container begins again while the engine lists it as it ran before.
func TestNextRunDuringResync(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		h.store.put("shop/db", "password", "one")
		h.engine.create("db", "quaymaster.secret.a", "vault:shop/db")
		h.starts("db")
		happened := time.Now()
		h.sleep(time.Millisecond)
		h.engine.onRunning(func() {
			time.Sleep(time.Millisecond)
			h.passes("db")
		})
		h.engine.report(inject.Connected, "", time.Time{})
		h.engine.report(inject.Died, "db", happened)
		h.sees("db", "a", "one")
	})
}

// A start that failed after the gate may be reported as an end without a
// beginning.
func TestEndWithoutBeginning(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		h.store.put("shop/db", "password", "one")
		h.engine.create("db", "quaymaster.secret.a", "vault:shop/db")
		h.passes("db")
		h.sleep(time.Millisecond)
		h.reports(inject.Died, "db")
		h.hasNoTree("db")
	})
}

// Once a run's beginning was reported, what follows is about that run,
// whatever the clock says.
func TestClockIsSetBack(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		h.store.put("shop/db", "password", "one")
		h.engine.create("db", "quaymaster.secret.a", "vault:shop/db")
		h.starts("db")
		h.engine.report(inject.Died, "db", time.Now().Add(-time.Hour))
		h.hasNoTree("db")
	})
}

// Many containers start and end at once, their events come late, and their
// secret changes all the time: what runs in the end has its whole tree.
func TestLateEventsOfManyRuns(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		const containers, runs = 12, 25
		set := func(n int) { h.store.put("shop/db", "user", fmt.Sprint(n), "password", fmt.Sprint(n)) }
		set(0)
		ctx, cancel := context.WithCancel(t.Context())
		var background sync.WaitGroup
		background.Go(func() {
			for n := 1; sleep(ctx, 3*time.Millisecond) == nil; n++ {
				set(n)
			}
		})
		pause := func() { time.Sleep(time.Duration(1+rand.IntN(4)) * time.Millisecond) }
		late := make(chan inject.Event, 2*containers*(runs+1))
		background.Go(func() {
			for event := range late {
				if rand.IntN(5) == 0 {
					pause()
				}
				h.engine.report(event.Kind, event.Container, event.At)
			}
		})
		together(containers, func(i int) {
			id := fmt.Sprint("db", i)
			h.engine.create(id, "quaymaster.secret.user", "vault:shop/db#user", "quaymaster.secret.password", "vault:shop/db#password")
			for range runs {
				h.passes(id)
				late <- inject.Event{Kind: inject.Started, Container: id, At: time.Now()}
				pause()
				late <- inject.Event{Kind: inject.Died, Container: id, At: time.Now()}
				pause()
			}
			h.passes(id)
			late <- inject.Event{Kind: inject.Started, Container: id, At: time.Now()}
		})
		close(late)
		cancel()
		background.Wait()
		h.sleep(time.Second)
		last := h.files("db0")["user"]
		for i := range containers {
			id := fmt.Sprint("db", i)
			h.sees(id, "user", last, "password", last)
			h.reports(inject.Died, id)
			h.hasNoTree(id)
		}
		h.wasLogged("level=ERROR", 0)
	}, func(o *broker.Options) { o.Refresh, o.Jitter = 5*time.Millisecond, rand.Float64 })
}

// A delivery whose container was removed, or began again, while its secrets
// were fetched must not write: nobody would wipe its tree, or it would pull the
// new run's tree away.
func TestOvertakenDelivery(t *testing.T) {
	for _, by := range []string{"removal", "next run"} {
		t.Run(by, func(t *testing.T) {
			onHost(t, func(t *testing.T, h *host) {
				h.store.put("shop/db", "password", "one")
				h.store.put("shop/slow", "key", "two")
				h.engine.create("db", "quaymaster.secret.a", "vault:shop/db", "quaymaster.secret.b", "vault:shop/slow")
				h.store.slow(5 * time.Second)
				var group sync.WaitGroup
				group.Go(func() {
					if _, err := h.deliver(t.Context(), arrival("db")); err == nil {
						t.Error("the overtaken run was let through")
					}
				})
				time.Sleep(time.Second)
				if by == "removal" {
					h.reports(inject.Removed, "db")
					group.Wait()
					h.hasNoTree("db")
					return
				}
				h.engine.create("db", "quaymaster.secret.a", "vault:shop/db") // what it wants now is there sooner
				h.store.slow(0)
				h.passes("db")
				group.Wait()
				h.sees("db", "a", "one")
				h.reports(inject.Started, "db")
				h.sleep(2 * refresh)
				h.sees("db", "a", "one")
				h.wasRead("shop/slow", 1) // nobody holds it
			})
		})
	}
}

// An arrival that is dealt with after its gate has given up is none any more,
// and must not end the run that came after it.
func TestArrivalOfAGateThatGaveUp(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		h.store.put("shop/db", "password", "one")
		h.engine.create("db", "quaymaster.secret.a", "vault:shop/db")
		asked, answer := make(chan struct{}), make(chan struct{})
		h.engine.onFacts(func() { close(asked); <-answer })
		ctx, cancel := context.WithCancel(t.Context())
		var group sync.WaitGroup
		group.Go(func() {
			if _, err := h.deliver(ctx, arrival("db")); !errors.Is(err, context.Canceled) {
				t.Errorf("%v", err)
			}
		})
		<-asked
		cancel()
		h.engine.onFacts(nil)
		h.starts("db")
		close(answer)
		group.Wait()
		h.sees("db", "a", "one")
	})
}

// A container that passed the gate and never started leaves nothing for long,
// unless it runs and only the event was missed.
func TestNeverStarted(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		h.store.put("shop/db", "password", "one")
		for _, id := range []string{"failed", "missed"} {
			h.engine.create(id, "quaymaster.secret.a", "vault:shop/db")
			h.passes(id)
		}
		h.engine.setRunning("missed", true)
		h.sleep(10 * time.Minute)
		h.sees("failed", "a", "one")
		h.engine.setDeaf(errors.New("the engine is away"))
		h.sleep(5 * time.Minute)
		h.sees("failed", "a", "one") // whether it runs is not known
		h.engine.setDeaf(nil)
		h.sleep(time.Minute)
		h.hasNoTree("failed")
		h.sees("missed", "a", "one")
	})
}

// A labelled container that came up without passing a gate is reported once
// for each run, and is not served afterwards.
func TestUngated(t *testing.T) {
	for _, require := range []bool{false, true} {
		t.Run(fmt.Sprint("require gate ", require), func(t *testing.T) {
			onHost(t, func(t *testing.T, h *host) {
				h.store.put("shop/db", "password", "one")
				h.engine.create("db", "quaymaster.secret.a", "vault:shop/db")
				h.engine.create("web")
				const report = "a labelled container runs WITHOUT its secrets"
				for run := 1; run <= 2; run++ {
					h.reports(inject.Started, "web")
					h.reports(inject.Started, "db")
					h.reports(inject.Connected, "")
					h.sleep(2 * refresh)
					h.wasLogged(report, run)
					records := h.audited(audit.Ungated, "db")
					if len(records) != run || records[0].ContainerName != "shop-db" || records[0].Decision != "" {
						t.Errorf("run %d: %+v", run, records)
					}
					if want := slices.Repeat([]string{"db"}, run); require != slices.Equal(h.engine.stops(), want) {
						t.Errorf("run %d: stopped %v", run, h.engine.stops())
					}
					h.hasNoTree("db")
					h.wasRead("shop/db", 0)
					h.reports(inject.Died, "db")
				}
				h.wasLogged("install docker-runtime", 2)
			}, func(o *broker.Options) { o.RequireGate = require })
		})
	}
}

// What happened while the engine was away is found out when it is back.
func TestGapInTheEvents(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		h.store.put("shop/db", "password", "one")
		for _, id := range []string{"died", "stayed", "starting", "ungated"} {
			h.engine.create(id, "quaymaster.secret.a", "vault:shop/db")
		}
		h.starts("died")
		h.starts("stayed")
		h.passes("starting")
		h.engine.setRunning("died", false)
		h.engine.setRunning("ungated", true)
		h.reports(inject.Connected, "")
		h.hasNoTree("died")
		h.sees("stayed", "a", "one")
		h.sees("starting", "a", "one")
		if r := h.audited(audit.Ungated, "ungated"); len(r) != 1 {
			t.Errorf("%+v", r)
		}
		h.engine.setRunning("starting", true) // started in the gap
		h.reports(inject.Connected, "")
		h.reports(inject.Died, "starting")
		h.hasNoTree("starting")
	})
}

// An engine that does not answer changes nothing.
func TestDeafEngine(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		h.store.put("shop/db", "password", "one")
		h.engine.create("db", "quaymaster.secret.a", "vault:shop/db")
		h.starts("db")
		h.engine.setDeaf(errors.New("no such socket"))
		h.reports(inject.Connected, "")
		h.wasLogged("running containers could not be listed", 1)
		h.reports(inject.Started, "web")
		h.wasLogged("what a container is that has started could not be learnt", 1)
		h.sees("db", "a", "one")
	})
}

// A container that will not stop is told of, and holds up nothing.
func TestUngatedContainerThatDoesNotStop(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		h.engine.create("db", "quaymaster.secret.a", "vault:shop/db")
		h.engine.unwilling = errors.New("it does not want to")
		h.reports(inject.Started, "db")
		h.wasLogged("a container that runs without its secrets could not be stopped", 1)
	}, func(o *broker.Options) { o.RequireGate = true })
}
