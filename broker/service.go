package broker

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/quaymaster/quaymaster/inject"
)

// What the swarm says to nobody is said here. Why a task did not get its secret
// becomes a label of its service, and how an update went that was begun for a
// new secret goes into the log. Both happen beside the answer that a task waits
// for: a manager asks while it holds the lock of the swarm's state, so that
// nothing can be changed in it before the answer is there.

const (
	// complainAfter is how long a refusal waits for others of its service.
	complainAfter = time.Second
	// complainAgain is how long a label stays before it says something else:
	// tasks on different nodes may be refused for different reasons.
	complainAgain = time.Minute
	// contentAfter is how long nothing must have been refused before the label
	// is taken away: the swarm tries again after 5 s, unless told otherwise.
	contentAfter = 15 * time.Second
	// followEvery is how often it is asked how an update goes.
	followEvery = 5 * time.Second
	// beginPatience is how long an update may take to begin.
	beginPatience = time.Minute
	// complaintLimit bounds the label, in bytes.
	complaintLimit = 1000
	// servicePatience bounds one question to the swarm, or one change.
	servicePatience = 10 * time.Second
)

// services are those of the swarm that there is something to do for.
type services struct {
	wake chan struct{}

	mu    sync.Mutex
	known map[string]*service // by ID
}

type service struct {
	name     string
	refusals map[string]string // why its tasks do not get a secret, by the secret's name

	tellAt   time.Time // when to label it; zero: nothing is to be changed
	toldAt   time.Time // when it was labelled last
	failures int       // to label it

	updated  time.Time // when the update began that is followed; zero: none is
	followAt time.Time // when to ask how it goes
}

// complaint is what the label says.
func (s *service) complaint() string {
	var reasons []string
	for _, name := range slices.Sorted(maps.Keys(s.refusals)) {
		reasons = append(reasons, "secret "+name+": "+s.refusals[name])
	}
	text := strings.Join(strings.Fields(strings.Join(reasons, "; ")), " ")
	if len(text) > complaintLimit {
		text = strings.ToValidUTF8(text[:complaintLimit], "") + " ..."
	}
	return text
}

// of is the service with that ID. The caller has locked s.mu.
func (s *services) of(id, name string) *service {
	if s.known[id] == nil {
		s.known[id] = &service{name: name, refusals: map[string]string{}}
	}
	return s.known[id]
}

func (s *services) wakeUp() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// complain has a task's service say why the task was refused. What names the one
// task is left out: the next one is refused for the same reason.
func (b *Broker) complain(task inject.Task, reason error) {
	text := strings.NewReplacer(task.Name, task.Service, task.ID, "").Replace(reason.Error())
	b.services.mu.Lock()
	defer b.services.mu.Unlock()
	s := b.services.of(task.ServiceID, task.Service)
	s.refusals[task.Secret] = text
	if task.ServiceLabels[inject.LabelServiceError] == s.complaint() {
		s.tellAt = time.Time{} // it does
		return
	}
	at := b.Now().Add(complainAfter)
	if !s.toldAt.IsZero() {
		at = later(at, s.toldAt.Add(complainAgain))
	}
	s.tellAt = earlier(s.tellAt, at)
	b.services.wakeUp()
}

// content notes that a task has got a secret.
func (b *Broker) content(task inject.Task) {
	b.services.mu.Lock()
	defer b.services.mu.Unlock()
	s := b.services.known[task.ServiceID]
	if s == nil && task.ServiceLabels[inject.LabelServiceError] == "" {
		return
	}
	s = b.services.of(task.ServiceID, task.Service)
	_, refused := s.refusals[task.Secret]
	delete(s.refusals, task.Secret)
	if refused || len(s.refusals) == 0 && s.tellAt.IsZero() {
		s.tellAt = b.Now().Add(contentAfter)
		b.services.wakeUp()
	}
}

// follow has the update of a service followed to its end.
func (b *Broker) follow(task inject.Task) {
	b.services.mu.Lock()
	defer b.services.mu.Unlock()
	s := b.services.of(task.ServiceID, task.Service)
	s.updated, s.followAt = b.Now(), b.Now().Add(followEvery)
	b.services.wakeUp()
}

// attend labels and follows services, beside everything else.
func (b *Broker) attend(ctx context.Context) error {
	for {
		next := b.attendAll(ctx)
		var again <-chan time.Time
		if !next.IsZero() {
			again = time.After(next.Sub(b.Now()))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-b.services.wake:
		case <-again:
		}
	}
}

// attendAll does what is due and returns when the next thing is (zero: there is
// none).
func (b *Broker) attendAll(ctx context.Context) (next time.Time) {
	b.services.mu.Lock()
	ids := slices.Sorted(maps.Keys(b.services.known))
	b.services.mu.Unlock()
	for _, id := range ids {
		b.label(ctx, id)
		b.askAfter(ctx, id)
	}
	b.services.mu.Lock()
	defer b.services.mu.Unlock()
	for id, s := range b.services.known {
		if s.tellAt.IsZero() && s.followAt.IsZero() && len(s.refusals) == 0 {
			delete(b.services.known, id)
		}
		next = earlier(next, earlier(s.tellAt, s.followAt))
	}
	return next
}

// label has a service say what is to be said of it, if that is due.
func (b *Broker) label(ctx context.Context, id string) {
	b.services.mu.Lock()
	s := b.services.known[id]
	at, text := s.tellAt, s.complaint()
	b.services.mu.Unlock()
	if at.IsZero() || at.After(b.Now()) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, servicePatience)
	defer cancel()
	err := b.Engine.TellService(ctx, id, text)
	b.services.mu.Lock()
	defer b.services.mu.Unlock()
	switch {
	case err != nil:
		s.failures++
		s.tellAt = b.Now().Add(b.store.pause(s.failures))
		b.Log.Debug("a service is not labelled yet", "service", s.name, "error", err)
		return
	case s.complaint() == text && s.tellAt.Equal(at):
		s.tellAt = time.Time{}
	}
	s.failures, s.toldAt = 0, b.Now()
}

// askAfter asks how the update of a service goes, if that is due, and tells how
// it ended.
func (b *Broker) askAfter(ctx context.Context, id string) {
	b.services.mu.Lock()
	s := b.services.known[id]
	at, updated := s.followAt, s.updated
	b.services.mu.Unlock()
	if at.IsZero() || at.After(b.Now()) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, servicePatience)
	defer cancel()
	state, message, err := b.Engine.ServiceState(ctx, id)
	if err != nil {
		b.Log.Debug("it is not known how the update of a service goes", "service", s.name, "error", err)
	}
	ended := err == nil && b.tellRollout(s.name, state, message, updated)
	b.services.mu.Lock()
	defer b.services.mu.Unlock()
	switch {
	case !s.followAt.Equal(at): // the next update has begun
	case ended:
		s.followAt = time.Time{}
	default:
		s.followAt = b.Now().Add(followEvery)
	}
}

// tellRollout tells how an update that began at that time has ended, and reports
// whether it has. What went back keeps running with what it has: it is updated
// again when the secret changes again.
func (b *Broker) tellRollout(name, state, message string, began time.Time) (ended bool) {
	args := []any{"service", name, "state", state, "message", message,
		"remedy", "docker service ps " + name + " says why; the service is updated again when the secret changes again"}
	switch state {
	case "": // not begun, changed by others meanwhile, or gone
		return b.Now().Sub(began) >= beginPatience
	case "completed":
		b.Log.Info("the tasks of a service have their new secrets", "service", name)
	case "paused", "rollback_paused":
		b.Log.Error("the update of a service for its new secrets is paused: tasks fail", args...)
	case "rollback_completed":
		b.Log.Error("the update of a service for its new secrets was rolled back: tasks failed", args...)
	default:
		return false
	}
	return true
}
