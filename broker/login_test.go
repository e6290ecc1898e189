package broker_test

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/broker"
	"github.com/quaymaster/quaymaster/broker/policy"
	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/inject"
	"github.com/quaymaster/quaymaster/providers"
)

// onDelegator runs a test on a host whose grant for "deleg:shop/**" has a login
// of its own.
func onDelegator(t *testing.T, test func(t *testing.T, h *host, d *delegator), change ...func(*broker.Options)) {
	t.Helper()
	d := &delegator{store: newStore(), clients: map[string]providers.Client{}, reads: map[string]int{}}
	change = append([]func(*broker.Options){func(o *broker.Options) {
		o.Providers["deleg"] = d
		own, _ := secret.ParsePattern("deleg:shop/**")
		o.Policy = policy.New([]policy.Grant{{
			Name: "own", Workloads: map[string]string{"label.app": "shop"}, Secrets: []secret.Pattern{own}, Login: policy.Login{Role: "shop"},
		}})
	}}, change...)
	onHost(t, func(t *testing.T, h *host) { test(t, h, d) }, change...)
}

func (d *delegator) forgotten() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.forgot)
}

// A container that stays stopped needs no login; one that starts again gets
// another, which ends with the container.
func TestLoginOfAStoppedContainerEnds(t *testing.T) {
	onDelegator(t, func(t *testing.T, h *host, d *delegator) {
		d.put("shop/db", "password", "one")
		h.engine.create("db", "quaymaster.secret.a", "deleg:shop/db")
		h.starts("db")
		h.reports(inject.Died, "db")
		h.sleep(maxStale - time.Minute)
		if got := d.forgotten(); len(got) != 0 {
			t.Errorf("a start could still use what was read, and the logins of %v were ended", got)
		}
		h.sleep(3 * time.Minute)
		if got := d.forgotten(); !slices.Equal(got, []string{"db", "db"}) { // the first time, nobody answered
			t.Errorf("ended the logins of %v", got)
		}
		h.starts("db")
		h.sees("db", "a", "one")
		h.reports(inject.Removed, "db")
		h.sleep(time.Minute)
		if got := d.forgotten(); !slices.Equal(got, []string{"db", "db", "db"}) {
			t.Errorf("ended the logins of %v", got)
		}
	})
}

// asking is a delegate that logs in to find out what a ref is.
type asking struct{ *delegator }

// For implements providers.Delegator.
func (a asking) For(client providers.Client) providers.Provider {
	a.delegator.For(client)
	return unsure{a.store}
}

// The login that was made for a start that was then refused ends with its
// container.
func TestLoginOfARefusedStartEnds(t *testing.T) {
	onDelegator(t, func(t *testing.T, h *host, d *delegator) {
		h.engine.create("db", "quaymaster.secret.a", "deleg:shop/db")
		h.refused("db", "secret store unavailable")
		h.reports(inject.Removed, "db")
		h.sleep(time.Minute)
		if got := d.forgotten(); !slices.Equal(got, []string{"db", "db"}) {
			t.Errorf("ended the logins of %v", got)
		}
	}, func(o *broker.Options) { o.Providers["deleg"] = asking{o.Providers["deleg"].(*delegator)} })
}

// A container is removed while one of its secrets is still awaited: the others,
// which it alone may have, are overwritten, but not before its start is over.
func TestValuesAreNotWipedUnderADelivery(t *testing.T) {
	onDelegator(t, func(t *testing.T, h *host, d *delegator) {
		d.put("shop/db", "password", "one")
		h.store.slow(time.Second)
		h.engine.create("db", "quaymaster.secret.a", "deleg:shop/db", "quaymaster.secret.b", "vault:shop/none")
		go h.deliver(t.Context(), arrival("db"))
		h.sleep(time.Second / 2)
		h.reports(inject.Removed, "db")
		value := d.buffer("shop/db", "password")
		if string(value) != mark+"one" {
			t.Errorf("what a delivery reads is %q", value)
		}
		h.sleep(time.Second)
		if !bytes.Equal(value, make([]byte, len(value))) {
			t.Error("what belonged to a container that was removed is still in memory")
		}
	}, func(o *broker.Options) {
		own, _ := secret.ParsePattern("deleg:**")
		open, _ := secret.ParsePattern("vault:**")
		o.Policy = policy.New([]policy.Grant{
			{Name: "own", Workloads: map[string]string{"label.app": "shop"}, Secrets: []secret.Pattern{own}, Login: policy.Login{Role: "shop"}},
			{Name: "open", Workloads: map[string]string{"label.app": "shop"}, Secrets: []secret.Pattern{open}},
		})
	})
}
