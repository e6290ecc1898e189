package broker_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/broker"
	"github.com/quaymaster/quaymaster/broker/memo"
	"github.com/quaymaster/quaymaster/broker/policy"
	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/inject"
)

// withMemos has agents note what the next one must know.
func withMemos(t *testing.T) (dir string, change func(o *broker.Options)) {
	t.Helper()
	dir = filepath.Join(memory(t), "memos")
	return dir, func(o *broker.Options) {
		memos, err := memo.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { memos.Close() })
		o.Memos = memos
	}
}

// onHeir runs a test on a host whose database makes logins and whose agents
// leave notes.
func onHeir(t *testing.T, test func(t *testing.T, h *host, l *lender, noted func() int)) {
	t.Helper()
	dir, memos := withMemos(t)
	l := newLender(10*time.Hour, 40*time.Hour)
	noted := func() int {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Error(err)
		}
		return len(entries)
	}
	onHost(t, func(t *testing.T, h *host) { test(t, h, l, noted) }, memos, func(o *broker.Options) {
		o.Providers["db"] = l
		o.Policy = shopMayRead(t, "db:**")
	})
}

// A login that an earlier agent had made is revoked when the run ends that may
// use it, though the store is away at that time.
func TestLoginsOfAnEarlierAgentEndWithTheRun(t *testing.T) {
	onHeir(t, func(t *testing.T, h *host, l *lender, noted func() int) {
		h.engine.create("db", login()...)
		h.starts("db")
		h.stop()
		h.boot()
		h.sleep(time.Hour)
		h.works(l, "db")
		if got := l.alive(); !slices.Equal(got, []int{1, 2}) {
			t.Errorf("the container may still use its first login, and the logins are %v", got)
		}
		l.set(func() { l.fails = errUnavailable })
		h.reports(inject.Died, "db")
		h.sleep(time.Minute)
		h.stop() // the next agent goes on where this one was
		h.boot()
		l.set(func() { l.fails = nil })
		h.sleep(3 * time.Minute)
		h.reports(inject.Removed, "db")
		h.sleep(time.Minute)
		if got := l.alive(); len(got) != 0 || noted() != 0 {
			t.Errorf("logins %v, and %d memos are left", got, noted())
		}
	})
}

// A container that went away, or began again, while no agent was there leaves
// no login.
func TestLoginsOfContainersThatEndedWithoutAnAgent(t *testing.T) {
	onHeir(t, func(t *testing.T, h *host, l *lender, noted func() int) {
		for _, id := range []string{"gone", "again", "stays"} {
			h.engine.create(id, login()...)
			h.starts(id)
		}
		h.reports(inject.Died, "gone") // its tree is gone, its login is kept for its next start
		h.stop()
		h.boot()
		h.reports(inject.Died, "again")
		h.starts("again")
		h.sleep(time.Minute)
		for _, id := range []string{"again", "stays"} {
			h.works(l, id)
		}
		if got := l.alive(); len(got) != 3 || slices.Contains(got, 1) || slices.Contains(got, 2) || !slices.Contains(got, 3) {
			t.Errorf("logins %v", got)
		}
		if noted() != 2 {
			t.Errorf("%d memos", noted())
		}
	})
}

// A grant for a user goes on being one after an agent restart.
func TestGrantForAUserAfterAnAgentRestart(t *testing.T) {
	_, memos := withMemos(t)
	onHost(t, func(t *testing.T, h *host) {
		h.store.put("shop/db", "password", "one")
		h.engine.create("db", "quaymaster.secret.a", "vault:shop/db")
		h.starts("db")
		for _, value := range []string{"two", "three"} { // over two restarts
			h.stop()
			h.store.put("shop/db", "password", value)
			h.boot()
			h.sleep(time.Minute)
			h.sees("db", "a", value)
		}
	}, memos, func(o *broker.Options) {
		all, err := secret.ParsePattern("vault:shop/**")
		if err != nil {
			t.Fatal(err)
		}
		user := map[string]string{"user": fmt.Sprint(os.Getuid())}
		o.Policy = policy.New([]policy.Grant{{Name: "user", Workloads: user, Secrets: []secret.Pattern{all}}})
	})
}

// A rotation of a variable that no agent saw is made up for by the next one,
// and only that one.
func TestVariablesThatChangedWithoutAnAgent(t *testing.T) {
	_, memos := withMemos(t)
	onHost(t, func(t *testing.T, h *host) {
		h.store.put("shop/db", "password", "one", "user", "shop")
		for _, field := range []string{"password", "user"} {
			h.engine.create(field, "quaymaster.env.A", "vault:shop/db#"+field, "quaymaster.on-rotate", "restart")
			h.starts(field)
		}
		h.stop()
		h.boot()
		h.sleep(time.Minute)
		h.wasTold(nil, nil)
		h.stop()
		h.store.put("shop/db", "password", "two", "user", "shop")
		h.boot()
		h.sleep(time.Minute)
		h.wasTold(nil, []string{"password"})
	}, memos)
}

// A container that an agent did not come to tell of its new secrets is told by
// the next one.
func TestStrategyThatAnAgentOwed(t *testing.T) {
	_, memos := withMemos(t)
	onHost(t, func(t *testing.T, h *host) {
		h.store.put("shop/db", "password", "one")
		h.engine.create("db", "quaymaster.secret.a", "vault:shop/db", "quaymaster.on-rotate", "signal:HUP")
		h.starts("db")
		h.engine.setUnwilling(errors.New("the engine is busy"))
		h.store.put("shop/db", "password", "two")
		h.sleep(refresh + time.Second)
		h.stop()
		h.engine.setUnwilling(nil)
		before, _ := h.engine.told()
		h.boot()
		h.sleep(time.Minute)
		h.stop()
		h.boot() // and that is enough
		h.sleep(time.Minute)
		if after, _ := h.engine.told(); len(after) != len(before)+1 {
			t.Errorf("told %d times", len(after)-len(before))
		}
	}, memos)
}
