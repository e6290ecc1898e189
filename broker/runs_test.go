package broker_test

import (
	"strings"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/broker"
	"github.com/quaymaster/quaymaster/broker/audit"
	"github.com/quaymaster/quaymaster/broker/policy"
	"github.com/quaymaster/quaymaster/broker/workload"
	"github.com/quaymaster/quaymaster/inject"
)

// withProfile gives the host a profile.
func withProfile(o *broker.Options) {
	o.Profiles = workload.Profiles{"shop-db": {"quaymaster.secret.a": "vault:shop/db"},
		"own": {"quaymaster.secret.a": "vault:shop/{{name}}"}, "env": {"quaymaster.env.A": "vault:shop/db"}}
}

// volume is a container at the volume gate, whose tree the engine names.
func volume(tree, profile, container string, others ...string) inject.Arrival {
	a := arrival(container)
	a.Gate, a.Tree, a.Profile, a.Others, a.FilesOnly, a.MemoryOnly = inject.GateVolume, tree, profile, others, true, false
	return a
}

// mounts says that a container runs with trees mounted.
func (e *engine) mounts(id string, trees ...string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	facts := e.containers[id]
	facts.Volumes = nil
	for _, tree := range trees {
		facts.Volumes = append(facts.Volumes, workload.Volume{Name: "secrets", Driver: "quaymaster", MountID: tree, Target: "/run/secrets"})
	}
	e.containers[id] = facts
}

// A container without any label of ours gets through a volume what the host's
// profile says, is kept fresh, and loses it with its end.
func TestVolumeWithAProfile(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		h.store.put("shop/db", "password", "one")
		h.engine.create("db")
		delivery, err := h.deliver(t.Context(), volume("m1", "shop-db", "db"))
		if err != nil || !strings.HasSuffix(delivery.Source, "/m1") {
			t.Fatal(delivery, err)
		}
		h.engine.mounts("db", "m1")
		h.reports(inject.Started, "db")
		h.store.put("shop/db", "password", "two")
		h.sleep(refresh)
		h.sees("m1", "a", "two")
		if r := h.audited(audit.Decision, "db"); len(r) != 1 || r[0].Gate != "volume" {
			t.Errorf("%+v", r)
		}
		h.reports(inject.Died, "db")
		h.hasNoTree("m1")
	}, withProfile)
}

// Docker unmounts the volume of a start that failed further on.
func TestVolumeIsUnmounted(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		h.store.put("shop/db", "password", "one")
		h.engine.create("db", "quaymaster.secret.a", "vault:shop/db")
		for _, a := range []inject.Arrival{volume("m1", "", "db"), volume("m2", "shop-db", "db")} { // two volumes of one container
			if _, err := h.deliver(t.Context(), a); err != nil {
				t.Fatal(err)
			}
		}
		h.End(t.Context(), "m1")
		h.hasNoTree("m1")
		h.sees("m2", "a", "one")
		h.End(t.Context(), "m1")
		h.End(t.Context(), "nobody")
		h.wasLogged("level=ERROR", 0)
	}, withProfile)
}

// Of two containers on one volume nobody can say which starts. Both may have
// what the volume brings, so it does not matter; which it was shows later.
func TestVolumeOfTwoContainers(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		h.store.put("shop/db", "password", "one")
		h.engine.create("api")
		h.engine.create("web")
		if _, err := h.deliver(t.Context(), volume("m1", "shop-db", "api", "web")); err != nil {
			t.Fatal(err)
		}
		if _, err := h.deliver(t.Context(), volume("m2", "shop-db", "api", "web")); err != nil {
			t.Fatal(err)
		}
		h.engine.mounts("web", "m1")
		h.reports(inject.Started, "web")
		h.engine.mounts("api", "m2")
		h.reports(inject.Started, "api")
		h.store.put("shop/db", "password", "two")
		h.sleep(refresh)
		h.reports(inject.Died, "web")
		h.hasNoTree("m1")
		h.sees("m2", "a", "two")
		for _, s := range h.Containers() {
			if s.ID != "api" || s.Gate != "volume" {
				t.Errorf("%+v", s)
			}
		}
	}, withProfile)
}

// What becomes of the container that it was not, is nothing to the one that it
// was: neither for this agent, nor for the next.
func TestVolumeOfTwoContainersOfWhichOneGoes(t *testing.T) {
	_, memos := withMemos(t)
	onHost(t, func(t *testing.T, h *host) {
		h.store.put("shop/db", "password", "one")
		for _, id := range []string{"api", "old", "web"} {
			h.engine.create(id)
		}
		for _, tree := range []string{"m1", "m2"} {
			if _, err := h.deliver(t.Context(), volume(tree, "shop-db", "api", "old", "web")); err != nil {
				t.Fatal(err)
			}
		}
		h.reports(inject.Died, "api")
		h.reports(inject.Removed, "api")
		h.engine.mounts("web", "m1")
		h.reports(inject.Started, "web")
		h.sees("m1", "a", "one")
		h.sees("m2", "a", "one")
		h.stop()
		h.boot()
		h.reports(inject.Died, "api")
		h.reports(inject.Removed, "api")
		h.sees("m2", "a", "one")
		h.engine.mounts("old", "m2")
		h.reports(inject.Started, "old")
		h.store.put("shop/db", "password", "two")
		h.sleep(refresh)
		h.sees("m1", "a", "two")
		h.sees("m2", "a", "two")
	}, withProfile, memos)
}

// What one of them may not have, or would get otherwise, none gets.
func TestVolumeOfTwoContainersThatDiffer(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		h.store.put("shop/db", "password", "one")
		h.store.put("shop/shop-api", "password", "two")
		h.engine.create("api")
		h.engine.create("stranger")
		facts := h.engine.containers["stranger"]
		facts.Labels = nil
		h.engine.containers["stranger"] = facts
		h.engine.create("web")
		h.turnsAway(volume("m1", "shop-db", "api", "stranger"), "container shop-stranger mounts the same volume", "denied by policy", "a volume of its own")
		h.turnsAway(volume("m1", "own", "api", "web"), "it would get something else", "a volume of its own")
		h.turnsAway(volume("m1", "env", "api"), "the variable A cannot come through the volume gate")
		h.turnsAway(volume("m1", "nonesuch", "api"), "nonesuch", "shop-db")
		h.hasNoTree("m1")
	}, withProfile)
}

// What is made for one container is not made for one of two.
func TestVolumeOfTwoContainersWithALogin(t *testing.T) {
	l := newLender(time.Hour, 10*time.Hour)
	onHost(t, func(t *testing.T, h *host) {
		for _, id := range []string{"api", "web"} {
			h.engine.create(id, login()...)
		}
		h.turnsAway(volume("m1", "", "api", "web"), "is made for one container alone", "container shop-web mounts the same volume")
	}, func(o *broker.Options) { o.Providers["db"], o.Policy = l, shopMayRead(t, "db:**") })
}

// The next agent knows whose a volume's tree is, and what it was to hold.
func TestVolumeOutlivesTheAgent(t *testing.T) {
	_, memos := withMemos(t)
	onHost(t, func(t *testing.T, h *host) {
		h.store.put("shop/db", "password", "one")
		for id, tree := range map[string]string{"db": "m1", "gone": "m2"} {
			h.engine.create(id)
			if _, err := h.deliver(t.Context(), volume(tree, "shop-db", id)); err != nil {
				t.Fatal(err)
			}
			h.engine.mounts(id, tree)
			h.reports(inject.Started, id)
		}
		h.stop()
		h.engine.setRunning("gone", false)
		h.store.put("shop/db", "password", "two")
		h.boot()
		h.sleep(time.Second)
		h.sees("m1", "a", "two")
		if all := h.Containers(); len(all) != 1 || all[0].Gate != "volume" {
			t.Errorf("%+v", all)
		}
		h.sleep(2 * time.Minute)
		h.hasNoTree("m2")
		h.reports(inject.Died, "db")
		h.hasNoTree("m1")
	}, withProfile, memos)
}

// The end of one run is reported when the volume is mounted for the next, to the
// agent that mounted it or to the one after it.
func TestVolumeIsMountedBeforeTheLastEndIsTold(t *testing.T) {
	for _, restarted := range []bool{false, true} {
		_, memos := withMemos(t)
		onHost(t, func(t *testing.T, h *host) {
			h.store.put("shop/db", "password", "one")
			h.engine.create("db")
			if _, err := h.deliver(t.Context(), volume("m1", "shop-db", "db")); err != nil {
				t.Fatal(err)
			}
			h.sleep(time.Second)
			if restarted {
				h.stop()
				h.boot()
			}
			h.reports(inject.Died, "db")
			h.sees("m1", "a", "one")
			h.engine.mounts("db", "m1")
			h.reports(inject.Started, "db")
			h.sleep(2 * startPatience)
			h.sees("m1", "a", "one")
			h.reports(inject.Died, "db")
			h.hasNoTree("m1")
		}, withProfile, memos)
	}
}

// An agent is restarted between a volume's mount and the start of its container:
// the login that lies in the tree is not taken from it.
func TestLoginInAVolumeOutlivesTheAgent(t *testing.T) {
	onHeir(t, func(t *testing.T, h *host, l *lender, _ func() int) {
		h.engine.create("db", login()...)
		if _, err := h.deliver(t.Context(), volume("m1", "", "db")); err != nil {
			t.Fatal(err)
		}
		h.sleep(time.Second)
		h.stop()
		h.boot()
		h.sleep(time.Second)
		if n := len(l.alive()); n != 1 {
			t.Errorf("%d logins are good before the container starts", n)
		}
		h.engine.mounts("db", "m1")
		h.reports(inject.Started, "db")
		h.sleep(time.Minute)
		h.works(l, "m1")
	})
}

// What a volume brings is what its profile says. The labels are for the runtime
// gate, and are missed when that was not passed.
func TestVolumeIsNotTheRuntimeGate(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		h.store.put("shop/db", "password", "one")
		h.engine.create("db", "quaymaster.secret.b", "vault:shop/db")
		if _, err := h.deliver(t.Context(), volume("m1", "shop-db", "db")); err != nil {
			t.Fatal(err)
		}
		h.engine.mounts("db", "m1")
		h.reports(inject.Started, "db")
		h.sees("m1", "a", "one")
		h.wasLogged("WITHOUT its secrets", 1)
		h.engine.create("api", "quaymaster.secret.b", "vault:shop/db")
		if _, err := h.deliver(t.Context(), volume("m2", "shop-db", "api")); err != nil {
			t.Fatal(err)
		}
		h.passes("api")
		h.engine.mounts("api", "m2")
		h.reports(inject.Started, "api")
		h.wasLogged("WITHOUT its secrets", 1)
	}, withProfile)
}

// A profile may be what a container's own label names.
func TestLabelNamesAProfile(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		h.store.put("shop/db", "password", "one")
		h.engine.create("db", "quaymaster.profile", "shop-db")
		h.starts("db")
		h.sees("db", "a", "one")
		h.engine.create("api", "quaymaster.profile", "nonesuch")
		h.refused("api", "nonesuch", "shop-db")
	}, withProfile)
}

// A swarm's node is a fact that a grant may name.
func onNode(t *testing.T, node string) func(o *broker.Options) {
	return func(o *broker.Options) {
		grants := shopGrants(t, "vault:shop/**")
		grants[0].Workloads = map[string]string{"swarm.service": "shop_db", "swarm.node": node}
		o.Policy = policy.New(grants)
	}
}
