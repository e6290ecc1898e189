package broker_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/broker/workload"
	"github.com/quaymaster/quaymaster/inject"
	"github.com/quaymaster/quaymaster/inject/memfs"
)

// mark begins every value and is looked for in every log line, error and
// audit record.
const mark = "pl41nt3xt-"

// store is a provider whose answers the test sets. A path has one value for
// each of its fields.
type store struct {
	mu      sync.Mutex
	secrets map[string]map[string]string // by path
	fails   map[string]error             // by path; "": all
	delay   time.Duration                // of every read
	reads   map[string]int               // by path and version
	buffers map[string][]byte            // the buffer of the last value handed out, by path and field
	flying  int
	peak    int // how many reads there were at a time
}

func newStore() *store {
	return &store{secrets: map[string]map[string]string{}, fails: map[string]error{}, reads: map[string]int{}, buffers: map[string][]byte{}}
}

// put sets the fields of a secret, given as name, value, name, value. Values
// get the mark.
func (s *store) put(path string, fields ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.secrets[path] = map[string]string{}
	for i := 0; i < len(fields); i += 2 {
		s.secrets[path][fields[i]] = mark + fields[i+1]
	}
}

// fail makes reads of path fail until it is called with nil.
func (s *store) fail(path string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fails[path] = err
}

func (s *store) slow(delay time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.delay = delay
}

// read is how often path was read, in any version.
func (s *store) read(path string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reads[path]
}

func (s *store) buffer(path, field string) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buffers[path+"#"+field]
}

// Fetch implements providers.Provider.
func (s *store) Fetch(ctx context.Context, ref secret.Ref) (secret.Secret, error) {
	s.mu.Lock()
	s.reads[ref.Path]++
	s.flying++
	s.peak = max(s.peak, s.flying)
	delay := s.delay
	s.mu.Unlock()
	err := sleep(ctx, delay)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flying--
	if err == nil {
		err = errors.Join(s.fails[ref.Path], s.fails[""])
	} else {
		err = fmt.Errorf("%w: %w", errUnavailable, err)
	}
	if err == nil && s.secrets[ref.Path] == nil {
		err = errNotFound
	}
	if err != nil {
		return secret.Secret{}, fmt.Errorf("the store of this test, asked for %s: %w", ref, err)
	}
	found := secret.Secret{Ref: ref, Version: fmt.Sprint(s.reads[ref.Path]), Fields: map[string]secret.Value{}}
	for name, value := range s.secrets[ref.Path] {
		s.buffers[ref.Path+"#"+name] = []byte(value)
		found.Fields[name] = secret.NewValue(s.buffers[ref.Path+"#"+name])
	}
	return found, nil
}

func sleep(ctx context.Context, d time.Duration) error {
	if d == 0 {
		return nil
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// engine is a container engine that the test speaks for.
type engine struct {
	events chan happening // taken by Watch

	mu         sync.Mutex
	containers map[string]workload.Facts
	running    map[string]bool
	stopped    []string
	failures   []inject.Failure
	starts     []string
	starting   func(id string) error // called by Start, when set
	updates    []string              // services that were updated
	labelled   []string              // services that were made to say something: "<service> <text>"
	rollout    string                // how the update of a service goes
	tasks      map[string]bool       // those that are not over
	signals    []string              // "<id> <signal>"
	restarts   []string
	unwilling  error  // what Stop, Signal and Restart are answered with
	restarting func() // called by Restart, when set
	deaf       error  // what every question is answered with
	learning   func() // called by Facts, when set
	listed     func() // called by Running, when set
	again      int    // how many processes every container had before this one
}

// happening is an event, and what is closed when it has been dealt with.
type happening struct {
	inject.Event
	done chan struct{}
}

// report tells of an event that happened at that time, and returns when it has
// been dealt with.
func (e *engine) report(kind inject.EventKind, id string, at time.Time) {
	h := happening{inject.Event{Kind: kind, Container: id, At: at}, make(chan struct{})}
	e.events <- h
	<-h.done
}

func newEngine() *engine {
	return &engine{events: make(chan happening), containers: map[string]workload.Facts{}, running: map[string]bool{}}
}

// create makes a container of the shop with these labels, given as key, value,
// key, value.
func (e *engine) create(id string, labels ...string) {
	facts := workload.Facts{ID: id, Name: "shop-" + id, Image: "shop/" + id + ":1", Labels: map[string]string{"app": "shop"}}
	for i := 0; i < len(labels); i += 2 {
		facts.Labels[labels[i]] = labels[i+1]
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.containers[id] = facts
}

func (e *engine) setRunning(id string, yes bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.running[id] = yes
}

func (e *engine) setDeaf(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.deaf = err
}

// onRunning has f called between what Running finds and its answer.
func (e *engine) onRunning(f func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.listed = f
}

// onFacts has f called before Facts answers; nil ends that.
func (e *engine) onFacts(f func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.learning = f
}

// onRestart has f called while a container restarts.
func (e *engine) onRestart(f func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.restarting = f
}

func (e *engine) stops() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.stopped)
}

// Facts implements broker.Engine.
func (e *engine) Facts(_ context.Context, id, _ string) (workload.Facts, error) {
	e.mu.Lock()
	learning := e.learning
	e.mu.Unlock()
	if learning != nil {
		learning()
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	facts, found := e.containers[id]
	if e.deaf != nil || !found {
		return workload.Facts{}, errors.Join(e.deaf, errors.New("the engine does not list it"))
	}
	facts.Labels = maps.Clone(facts.Labels)
	return facts, nil
}

// Running implements broker.Engine.
func (e *engine) Running(context.Context) (running []workload.Facts, err error) {
	e.mu.Lock()
	listed := e.listed
	e.mu.Unlock()
	if listed != nil {
		defer listed()
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for id, yes := range e.running {
		if yes {
			running = append(running, e.containers[id])
		}
	}
	return running, e.deaf
}

// Watch implements broker.Engine.
func (e *engine) Watch(ctx context.Context, sink func(inject.Event)) error {
	sink(inject.Event{Kind: inject.Connected})
	for {
		select {
		case <-ctx.Done():
			return nil
		case h := <-e.events:
			sink(h.Event)
			close(h.done)
		}
	}
}

// Stop implements broker.Engine.
func (e *engine) Stop(_ context.Context, id string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.stopped = append(e.stopped, id)
	return e.unwilling
}

// Signal implements broker.Engine.
func (e *engine) Signal(_ context.Context, id, signal string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.signals = append(e.signals, id+" "+signal)
	return e.unwilling
}

// Restart implements broker.Engine.
func (e *engine) Restart(_ context.Context, id string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.restarts = append(e.restarts, id)
	restarting := e.restarting
	e.mu.Unlock()
	if restarting != nil {
		restarting()
	}
	e.mu.Lock()
	return e.unwilling
}

// Failed implements broker.Engine.
func (e *engine) Failed(context.Context) ([]inject.Failure, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.failures), e.deaf
}

// Start implements broker.Engine. What starts has not failed any more.
func (e *engine) Start(_ context.Context, id string) error {
	e.mu.Lock()
	e.starts = append(e.starts, id)
	starting := e.starting
	e.mu.Unlock()
	if starting != nil {
		if err := starting(id); err != nil {
			return err
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.failures = slices.DeleteFunc(e.failures, func(f inject.Failure) bool { return f.Container == id })
	return nil
}

// Process implements broker.Engine.
func (e *engine) Process(_ context.Context, id string) (inject.Arrival, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.running[id] {
		return inject.Arrival{}, fmt.Errorf("container %s does not run", id)
	}
	a := arrival(id)
	a.Gate, a.PID = "", 4711+e.again
	return a, nil
}

// UpdateService implements broker.Engine.
func (e *engine) UpdateService(_ context.Context, id string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.updates = append(e.updates, id)
	return e.unwilling
}

// TellService implements broker.Engine.
func (e *engine) TellService(_ context.Context, id, text string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.unwilling == nil {
		e.labelled = append(e.labelled, id+" "+text)
	}
	return e.unwilling
}

// ServiceState implements broker.Engine.
func (e *engine) ServiceState(context.Context, string) (state, message string, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.rollout, "", e.deaf
}

// Tasks implements broker.Engine.
func (e *engine) Tasks(context.Context) (map[string]bool, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return maps.Clone(e.tasks), e.deaf
}

// trees are real trees. What onWrite was given is called before one is written,
// and its error is the writing's.
type trees struct {
	*memfs.FS

	mu     sync.Mutex
	before func() error
}

func (t *trees) onWrite(f func() error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.before = f
}

func (t *trees) check() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.before == nil {
		return nil
	}
	return t.before()
}

func (t *trees) Create(container string, owner inject.Owner, files []inject.File) (string, error) {
	if err := t.check(); err != nil {
		return "", err
	}
	return t.FS.Create(container, owner, files)
}

func (t *trees) Swap(container string, files []inject.File) (bool, error) {
	if err := t.check(); err != nil {
		return false, err
	}
	return t.FS.Swap(container, files)
}

// text collects what is written to it.
type text struct {
	mu      sync.Mutex
	builder strings.Builder
}

func (t *text) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.builder.Write(p)
}

func (t *text) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.builder.String()
}

// nowhere is the clock of what never tells the time.
func nowhere() time.Time { return time.Time{} }
