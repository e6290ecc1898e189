package broker_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/broker"
	"github.com/quaymaster/quaymaster/broker/audit"
	"github.com/quaymaster/quaymaster/broker/policy"
	"github.com/quaymaster/quaymaster/inject"
)

func task(id string, labels ...string) inject.Task {
	t := inject.Task{ID: id, Name: "shop_db.1." + id, Image: "shop/db:1", ServiceID: "s1", Service: "shop_db", NodeID: "n1", Node: "two",
		Secret: "password", SecretLabels: map[string]string{"quaymaster.ref": "vault:shop/db"},
		ServiceLabels: map[string]string{"com.docker.swarm.service.name": "forged"}}
	for i := 0; i < len(labels); i += 2 {
		t.ServiceLabels[labels[i]] = labels[i+1]
	}
	return t
}

// gets asks for a task's secret as its swarm does.
func (h *host) gets(t inject.Task, want string) {
	h.t.Helper()
	value, err := h.DeliverTask(h.t.Context(), t)
	if err != nil || string(value.Reveal()) != mark+want { // compared here
		h.t.Errorf("task %s: %v", t.ID, err)
	}
	value.Wipe()
}

func (e *engine) alive(tasks ...string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.tasks = map[string]bool{}
	for _, id := range tasks {
		e.tasks[id] = true
	}
}

func TestTask(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		h.store.put("shop/db", "password", "one")
		h.engine.alive("t1")
		h.gets(task("t1"), "one")
		h.wasRead("shop/db", 1)
		if r := h.audited(audit.Decision, "t1"); len(r) != 1 || r[0].Gate != "swarm" || r[0].Decision != "allow" {
			t.Errorf("%+v", r)
		}
		other := task("t2")
		other.Node = "three"
		_, err := h.DeliverTask(t.Context(), other)
		if err == nil || !strings.Contains(err.Error(), "swarm.node=three") || !strings.Contains(err.Error(), "service shop_db") {
			t.Error(err)
		}
		bad := task("t3")
		bad.SecretLabels = map[string]string{"quaymaster.reff": "vault:shop/db"}
		if _, err = h.DeliverTask(t.Context(), bad); err == nil || !strings.Contains(err.Error(), "quaymaster.reff") {
			t.Error(err)
		}
		if all := h.Containers(); len(all) != 1 || all[0].Gate != "swarm" {
			t.Errorf("%+v", all)
		}
		h.engine.alive()
		h.sleep(3 * time.Minute)
		if all := h.Containers(); len(all) != 0 {
			t.Errorf("%+v", all)
		}
	}, onNode(t, "two"))
}

// A rotation becomes one update of the service, however many tasks it has; the
// new tasks get the new value.
func TestRotationUpdatesTheService(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		h.store.put("shop/db", "password", "one")
		h.engine.alive("t1", "t2", "t3", "t4")
		for _, id := range []string{"t1", "t2", "t3"} {
			h.gets(task(id, "quaymaster.on-rotate", "update"), "one")
		}
		h.sleep(refresh)
		if len(h.engine.updates) != 0 {
			t.Errorf("updated without a change: %q", h.engine.updates)
		}
		h.store.put("shop/db", "password", "two")
		h.sleep(2 * refresh)
		if len(h.engine.updates) != 1 || h.engine.updates[0] != "s1" {
			t.Errorf("updates %q", h.engine.updates)
		}
		h.gets(task("t4", "quaymaster.on-rotate", "update"), "two")
		h.gets(task("t1", "quaymaster.on-rotate", "update"), "two") // its node registered anew; it was told of already
		h.sleep(2 * refresh)
		if len(h.engine.updates) != 1 {
			t.Errorf("updates %q", h.engine.updates)
		}
	}, onNode(t, "two"))
}

// The next agent goes on where the last one ended: it knows the tasks, what they
// have, and updates their service when that has changed.
func TestTasksOutliveTheAgent(t *testing.T) {
	_, memos := withMemos(t)
	onHost(t, func(t *testing.T, h *host) {
		h.store.put("shop/db", "password", "one")
		h.engine.alive("t1")
		h.gets(task("t1", "quaymaster.on-rotate", "update"), "one")
		h.sleep(time.Second)
		h.stop()
		h.boot()
		h.sleep(refresh)
		if all := h.Containers(); len(all) != 1 || len(h.engine.updates) != 0 {
			t.Errorf("%+v, updates %q", all, h.engine.updates)
		}
		h.stop()
		h.store.put("shop/db", "password", "two")
		h.boot()
		h.sleep(time.Minute)
		if len(h.engine.updates) != 1 {
			t.Errorf("updates %q", h.engine.updates)
		}
	}, onNode(t, "two"), memos)
}

// A swarm that cannot update a service now is asked again.
func TestUpdateOfTheServiceFails(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		h.store.put("shop/db", "password", "one")
		h.engine.alive("t1")
		h.gets(task("t1", "quaymaster.on-rotate", "update"), "one")
		h.engine.unwilling = errors.New("the swarm has no leader")
		h.store.put("shop/db", "password", "two")
		h.sleep(2 * refresh)
		h.engine.mu.Lock()
		h.engine.unwilling, h.engine.updates = nil, nil
		h.engine.mu.Unlock()
		h.sleep(2 * time.Minute)
		if len(h.engine.updates) != 1 {
			t.Errorf("updates %q", h.engine.updates)
		}
	}, onNode(t, "two"))
}

// What was made for a task is revoked when the task is over.
func TestLoginOfATask(t *testing.T) {
	l := newLender(time.Hour, 10*time.Hour)
	onHost(t, func(t *testing.T, h *host) {
		h.engine.alive("t1")
		one := task("t1", "app", "shop")
		one.SecretLabels = map[string]string{"quaymaster.ref": "db:creds/shop#password"}
		value, err := h.DeliverTask(t.Context(), one)
		if err != nil {
			t.Fatal(err)
		}
		value.Wipe()
		h.sleep(time.Hour)
		if n := len(l.alive()); n != 1 {
			t.Errorf("%d logins are good while it runs", n)
		}
		h.engine.alive()
		h.sleep(3 * time.Minute)
		if n := len(l.alive()); n != 0 {
			t.Errorf("%d logins are good after it", n)
		}
	}, func(o *broker.Options) { o.Providers["db"], o.Policy = l, policy.New(shopGrants(t, "db:**")) })
}
