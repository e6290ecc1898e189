package broker_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/broker"
	"github.com/quaymaster/quaymaster/broker/audit"
	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/inject"
	"github.com/quaymaster/quaymaster/providers"
)

// generation identifies the set of files that a container sees now: any write
// makes another one.
func (h *host) generation(id string) os.FileInfo {
	h.t.Helper()
	info, err := os.Stat(filepath.Join(h.tree(id), "..data"))
	if err != nil {
		h.t.Fatal(err)
	}
	return info
}

// generations is how many sets of files a tree holds.
func (h *host) generations(id string) int {
	found, _ := filepath.Glob(filepath.Join(h.tree(id), "..[0-9]*"))
	return len(found)
}

// unchanged fails when the files of the container were written since before.
func (h *host) unchanged(id string, before os.FileInfo) {
	h.t.Helper()
	if !os.SameFile(before, h.generation(id)) {
		h.t.Errorf("the tree of %s was touched", id)
	}
}

// A new value reaches every holder in one swap each, with one read in all;
// whoever does not hold it is not touched.
func TestRotation(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		h.store.put("shop/db", "user", "shop", "password", "one")
		h.store.put("shop/api", "key", "1")
		const holders = 50
		for i := range holders {
			id := fmt.Sprint("db", i)
			h.engine.create(id, "quaymaster.secret.user", "vault:shop/db#user", "quaymaster.secret.password", "vault:shop/db#password")
			h.starts(id)
		}
		h.engine.create("api", "quaymaster.secret.key", "vault:shop/api")
		h.starts("api")
		swaps := 0
		h.trees.onWrite(func() error { swaps++; return nil })
		before := h.generation("api")
		h.store.put("shop/db", "user", "new", "password", "two")
		h.sleep(refresh - 1)
		h.sees("db7", "user", "shop", "password", "one")
		h.sleep(1)
		for i := range holders {
			id := fmt.Sprint("db", i)
			h.sees(id, "user", "new", "password", "two")
			if r := h.audited(audit.Rotated, id); len(r) != 2 || r[0].Decision != "allow" || r[0].HMAC == "" || r[0].Gate != "runtime" {
				t.Errorf("%s: %+v", id, r)
			}
		}
		h.sleep(10 * time.Second)
		h.wasRead("shop/db", 2)
		if swaps != holders {
			t.Errorf("%d swaps", swaps)
		}
		h.unchanged("api", before)
		if r := h.audited(audit.Rotated, "api"); len(r) != 0 {
			t.Errorf("%+v", r)
		}
	})
}

// As long as nothing changes nothing is touched, and each secret is read once
// in each interval.
func TestNothingChanges(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		h.store.put("shop/db", "password", "one")
		for _, id := range []string{"db", "web"} {
			h.engine.create(id, "quaymaster.secret.a", "vault:shop/db")
			h.starts(id)
		}
		before := h.generation("db")
		h.trees.onWrite(func() error { t.Error("a tree is written"); return nil })
		h.sleep(12 * refresh)
		h.wasRead("shop/db", 13)
		h.unchanged("db", before)
		if h.generations("db") != 1 || len(h.audited(audit.Rotated, "db")) != 0 {
			t.Errorf("%d generations, %+v", h.generations("db"), h.audited(audit.Rotated, "db"))
		}
	})
}

// Reads are spread: each is up to a tenth of the interval early.
func TestJitter(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		h.store.put("shop/db", "password", "one")
		h.engine.create("db", "quaymaster.secret.a", "vault:shop/db")
		h.starts("db")
		h.sleep(refresh - refresh/20 - 1)
		h.wasRead("shop/db", 1)
		h.sleep(1)
		h.wasRead("shop/db", 2)
	}, func(o *broker.Options) { o.Jitter = func() float64 { return 0.5 } })
}

// Starts that find a fresh value do not put off its next read.
func TestStartsDoNotPutOffReads(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		h.store.put("shop/db", "password", "one")
		for _, id := range []string{"db", "web"} {
			h.engine.create(id, "quaymaster.secret.a", "vault:shop/db")
		}
		h.starts("db")
		h.store.put("shop/db", "password", "two")
		h.sleep(refresh - 1)
		h.starts("web")
		h.sees("web", "a", "one")
		h.sleep(1)
		for _, id := range []string{"db", "web"} {
			h.sees(id, "a", "two")
		}
	})
}

// An interval may be shorter than the pauses of an agent that has nothing to do.
func TestShortInterval(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		h.sleep(time.Hour)
		h.store.put("shop/db", "password", "one")
		h.engine.create("db", "quaymaster.secret.a", "vault:shop/db")
		h.starts("db")
		h.store.put("shop/db", "password", "two")
		h.sleep(time.Second)
		h.sees("db", "a", "two")
	}, func(o *broker.Options) { o.Refresh = time.Second })
}

// A start that reads a new value brings it to the running containers too,
// without waiting for their interval.
func TestStartBringsRotation(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		h.store.put("shop/db", "password", "one")
		h.engine.create("db", "quaymaster.secret.a", "vault:shop/db")
		h.engine.create("web", "quaymaster.secret.a", "vault:shop/db")
		h.starts("db")
		h.store.put("shop/db", "password", "two")
		h.store.fail("", providers.ErrUnavailable)
		h.sleep(refresh)
		h.store.fail("", nil) // no longer fresh, and due again only after another interval
		h.sees("db", "a", "one")
		h.passes("web")
		h.sleep(1)
		h.sees("web", "a", "two")
		h.sees("db", "a", "two")
		h.wasRead("shop/db", 3)
	})
}

// An outage changes nothing, and is told of when it begins and when it ends,
// also when a start notices either first.
func TestProviderAway(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		const begins, ends = "a held secret could not be read again", "a held secret can be read again"
		h.store.put("shop/db", "password", "one")
		for _, id := range []string{"db", "web"} {
			h.engine.create(id, "quaymaster.secret.a", "vault:shop/db")
		}
		h.starts("db")
		before := h.generation("db")
		for outage := 1; outage <= 2; outage++ {
			h.store.fail("", errUnavailable)
			h.wasLogged(begins, outage-1)
			if outage == 2 { // the start comes first
				h.sleep(refresh - 1)
				h.starts("web")
				h.sleep(1)
			}
			h.sleep(5 * refresh)
			h.wasLogged(begins, outage)
			h.store.fail("", nil)
			if outage == 2 {
				h.starts("web")
			}
			h.sleep(5 * refresh)
			h.wasLogged(ends, outage)
			h.sees("db", "a", "one")
			h.unchanged("db", before)
		}
	})
}

// A value that changes during an outage arrives when it is over.
func TestRotationDuringAnOutage(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		h.store.put("shop/db", "password", "one")
		h.engine.create("db", "quaymaster.secret.a", "vault:shop/db")
		h.starts("db")
		h.store.fail("", errUnavailable)
		h.store.put("shop/db", "password", "two")
		h.sleep(2 * maxStale)
		h.sees("db", "a", "one")
		h.store.fail("", nil)
		h.sleep(refresh)
		h.sees("db", "a", "two")
	})
}

// A reader who has begun with the old set can finish; then the old set goes.
func TestOldGenerationIsKeptForItsReaders(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		h.store.put("shop/db", "password", "one")
		h.engine.create("db", "quaymaster.secret.a", "vault:shop/db")
		h.starts("db")
		reader, err := os.OpenRoot(filepath.Join(h.tree("db"), "..data"))
		if err != nil {
			t.Fatal(err)
		}
		defer reader.Close()
		h.store.put("shop/db", "password", "two")
		h.sleep(refresh)
		h.sees("db", "a", "two")
		h.sleep(10*time.Second - 1)
		if old, err := reader.ReadFile("a"); err != nil || string(old) != mark+"one" || h.generations("db") != 2 {
			t.Errorf("who began with the old set cannot read on: %v", err)
		}
		h.sleep(30*time.Second + 1)
		if h.generations("db") != 1 {
			t.Errorf("%d generations", h.generations("db"))
		}
		h.sees("db", "a", "two")
	})
}

// An optional secret that comes into being is delivered, and one that goes
// away again is kept.
func TestOptionalSecretAppears(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		h.store.put("shop/db", "password", "one")
		h.engine.create("db", "quaymaster.secret.a", "vault:shop/db", "quaymaster.secret.b", "vault:shop/later", "quaymaster.optional.b", "true")
		h.starts("db")
		h.sleep(2 * refresh)
		h.sees("db", "a", "one")
		h.wasLogged("level=WARN", 0)
		h.store.put("shop/later", "x", "here")
		h.sleep(refresh)
		h.sees("db", "a", "one", "b", "here")
		h.store.fail("shop/later", errNotFound)
		h.sleep(2 * refresh)
		h.sees("db", "a", "one", "b", "here")
		h.wasLogged("a held secret could not be read again", 1)
	})
}

// A rotation writes files. The variables of a process are what they were, and
// no record says otherwise.
func TestVariablesAreNotRotated(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		h.store.put("shop/db", "password", "one")
		h.store.put("shop/api", "key", "1")
		h.engine.create("db", "quaymaster.secret.a", "vault:shop/db", "quaymaster.env.B", "vault:shop/api", "quaymaster.env.C", "vault:shop/db")
		h.starts("db")
		h.store.put("shop/db", "password", "two")
		h.sleep(refresh)
		h.sees("db", "a", "two")
		if r := h.audited(audit.Rotated, "db"); len(r) != 1 || r[0].Kind != "file" {
			t.Errorf("%+v", r)
		}
	})
}

// A new value that cannot be delivered is told of once, recorded once, and the
// whole old set stays.
func TestRotationToWhatCannotBeDelivered(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		const told = "a container could not be given its new secrets and keeps what it has"
		h.store.put("shop/db", "password", "one")
		h.store.put("shop/api", "key", "1")
		h.engine.create("db", "quaymaster.secret.a", "vault:shop/db#password", "quaymaster.secret.b", "vault:shop/api")
		h.starts("db")
		before := h.generation("db")
		h.store.put("shop/db", "password", strings.Repeat("x", secret.MaxValueSize))
		h.store.put("shop/api", "key", "2")
		h.sleep(5 * refresh)
		h.sees("db", "a", "one", "b", "1")
		h.unchanged("db", before)
		h.wasLogged(told, 1)
		if r := h.audited(audit.Rotated, "db"); len(r) != 1 || r[0].Decision != "error" || !strings.Contains(r[0].Reason, "more than 1048576 bytes") {
			t.Errorf("%+v", r)
		}
		h.store.put("shop/db", "other", "field")
		h.sleep(5 * refresh)
		h.sees("db", "a", "one", "b", "1")
		h.wasLogged(told, 2)
		h.store.put("shop/db", "password", "three")
		h.sleep(refresh)
		h.sees("db", "a", "three", "b", "2")
		h.store.put("shop/db", "other", "field") // it begins again, so it is told again
		h.sleep(refresh)
		h.wasLogged(told, 3)
	})
}

// A rotation that cannot be written, or recorded, does not happen until it can.
func TestRotationThatFails(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		h.store.put("shop/db", "password", "one")
		h.engine.create("db", "quaymaster.secret.a", "vault:shop/db")
		h.starts("db")
		h.trees.onWrite(func() error { return os.ErrPermission })
		h.store.put("shop/db", "password", "two")
		h.sleep(5 * refresh)
		h.sees("db", "a", "one")
		h.wasLogged("a container could not be given its new secrets and keeps what it has", 1)
		h.trees.onWrite(nil)
		h.sleep(time.Minute)
		h.sees("db", "a", "two")

		if err := h.records.Close(); err != nil {
			t.Fatal(err)
		}
		h.store.put("shop/db", "password", "three")
		h.sleep(5 * refresh)
		h.sees("db", "a", "two")
		h.wasLogged("cannot be written, so nothing is delivered", 1)
		if err := h.records.Reopen(); err != nil {
			t.Fatal(err)
		}
		h.sleep(time.Minute)
		h.sees("db", "a", "three")
	})
}

// Only containers that run are rotated: one that is about to start is between
// its gate and its mount.
func TestNoRotationBeforeTheStart(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		h.store.put("shop/db", "password", "one")
		h.engine.create("db", "quaymaster.secret.a", "vault:shop/db")
		h.passes("db")
		h.store.put("shop/db", "password", "two")
		h.sleep(refresh)
		h.sees("db", "a", "one")
		h.reports(inject.Started, "db")
		h.sleep(time.Minute)
		h.sees("db", "a", "two")
	})
}
