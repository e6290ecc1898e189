package broker_test

import (
	"errors"
	"fmt"
	"slices"
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

// A service that was removed is not updated, and nobody is told of trouble.
func TestServiceIsGone(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		h.store.put("shop/db", "password", "one")
		h.engine.alive("t1")
		h.gets(task("t1", "quaymaster.on-rotate", "update"), "one")
		h.engine.unwilling = fmt.Errorf("update it: %w", inject.ErrGone)
		h.store.put("shop/db", "password", "two")
		h.sleep(4 * refresh)
		if len(h.engine.updates) != 1 || strings.Contains(h.log.String(), "was not told") {
			t.Errorf("updates %q, log %s", h.engine.updates, &h.log)
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

// tellings is what services were made to say.
func (e *engine) tellings() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.labelled)
}

// Why its tasks are refused is said by their service, once, however many there
// are; it is taken back when they get their secrets again.
func TestServiceSaysWhy(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		h.store.put("shop/db", "password", "one")
		elsewhere := func(id string, labels ...string) inject.Task {
			x := task(id, labels...)
			x.Node = "three"
			return x
		}
		refuse := func(x inject.Task) {
			t.Helper()
			if _, err := h.DeliverTask(t.Context(), x); err == nil {
				t.Errorf("task %s was given its secret", x.ID)
			}
		}
		refuse(elsewhere("t1"))
		refuse(elsewhere("t2"))
		if len(h.engine.tellings()) != 0 {
			t.Error("the swarm was asked while a task waits for the answer")
		}
		h.sleep(2 * time.Second)
		told := h.engine.tellings()
		if len(told) != 1 || !strings.HasPrefix(told[0], "s1 secret password: ") || strings.Contains(told[0], "t1") || strings.Contains(told[0], "t2") {
			t.Fatalf("told %q", told)
		}
		label := strings.TrimPrefix(told[0], "s1 ")
		refuse(elsewhere("t3", inject.LabelServiceError, label))
		h.sleep(5 * time.Minute)
		if told = h.engine.tellings(); len(told) != 1 {
			t.Errorf("told %q", told)
		}
		h.gets(task("t4", inject.LabelServiceError, label), "one")
		refuse(elsewhere("t5", inject.LabelServiceError, label)) // not all of them do
		h.sleep(5 * time.Minute)
		h.gets(task("t6", inject.LabelServiceError, label), "one")
		h.sleep(time.Minute)
		if told = h.engine.tellings(); told[len(told)-1] != "s1 " {
			t.Errorf("told %q", told)
		}
	}, onNode(t, "two"))
}

// The next agent takes back what the last one had a service say. A swarm that
// cannot be asked now is asked again.
func TestServiceSaysNoMore(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		h.store.put("shop/db", "password", "one")
		h.engine.mu.Lock()
		h.engine.unwilling = errors.New("the swarm has no leader")
		h.engine.mu.Unlock()
		h.gets(task("t1", inject.LabelServiceError, "secret password: old"), "one")
		h.sleep(time.Minute)
		h.engine.mu.Lock()
		h.engine.unwilling = nil
		h.engine.mu.Unlock()
		h.sleep(5 * time.Minute)
		if told := h.engine.tellings(); len(told) != 1 || told[0] != "s1 " {
			t.Errorf("told %q", told)
		}
	}, onNode(t, "two"))
}

// How an update ended is told once, and one value is one update: what the swarm
// took back is tried again with the next value, also by the next agent.
func TestRolledBack(t *testing.T) {
	_, memos := withMemos(t)
	onHost(t, func(t *testing.T, h *host) {
		h.store.put("shop/db", "password", "one")
		h.engine.alive("t1")
		h.engine.rollout = "updating"
		h.gets(task("t1", "quaymaster.on-rotate", "update"), "one")
		h.sleep(refresh)
		h.store.put("shop/db", "password", "two")
		h.sleep(2 * refresh)
		h.engine.mu.Lock()
		h.engine.rollout = "rollback_completed"
		h.engine.mu.Unlock()
		h.sleep(2 * refresh)
		if n := strings.Count(h.log.String(), "was rolled back"); n != 1 {
			t.Errorf("told %d times: %s", n, &h.log)
		}
		h.stop()
		h.boot()
		h.sleep(2 * refresh)
		if len(h.engine.updates) != 1 {
			t.Errorf("updates %q", h.engine.updates)
		}
		h.store.put("shop/db", "password", "three")
		h.sleep(2 * refresh)
		if len(h.engine.updates) != 2 {
			t.Errorf("updates %q", h.engine.updates)
		}
	}, onNode(t, "two"), memos)
}
