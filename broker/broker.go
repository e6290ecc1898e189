// Package broker decides, resolves, keeps and delivers.
//
// A gate calls Deliver for a container that waits to start (deliver.go, weigh.go
// and form.go: the way of one secret, top down). What was delivered is then
// kept: the store holds each secret once (store.go), reads it (flight.go,
// land.go), and reads it again at its interval or renews its lease (keep.go);
// what has changed is swapped into running containers (refresh.go, update.go and
// offer.go), which are then made to take notice as they asked (react.go). The watch on the engine says when containers
// start, end and go away, and whether one runs that passed no gate (watch.go);
// what was leased for one that is no more is revoked (revoke.go), by the next
// agent if need be (heritage.go).
//
// The broker knows providers, trees and the engine only by their interfaces.
package broker

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/quaymaster/quaymaster/broker/audit"
	"github.com/quaymaster/quaymaster/broker/memo"
	"github.com/quaymaster/quaymaster/broker/policy"
	"github.com/quaymaster/quaymaster/broker/rotation"
	"github.com/quaymaster/quaymaster/broker/workload"
	"github.com/quaymaster/quaymaster/inject"
	"github.com/quaymaster/quaymaster/inject/render"
	"github.com/quaymaster/quaymaster/providers"
)

// Engine is what the broker asks of, and learns from, the container engine.
type Engine interface {
	// Facts says what a container is, without its process user. It must not
	// wait for the engine longer than a start can wait. engineDir is the
	// engine's own directory for the container, or empty.
	Facts(ctx context.Context, id, engineDir string) (workload.Facts, error)
	// Running returns the facts of all containers that run now.
	Running(ctx context.Context) ([]workload.Facts, error)
	// Watch calls sink for each event, in order and one at a time, until ctx
	// ends.
	Watch(ctx context.Context, sink func(inject.Event)) error
	// Stop ends a container.
	Stop(ctx context.Context, id string) error
	rotation.Engine
}

// Options is what a Broker is made of. All fields but Rates, CheckVersions,
// Memos, Moved and Wall are required.
type Options struct {
	Engine    Engine
	Trees     inject.Trees
	Providers map[string]providers.Provider // by the name that refs use
	Rates     map[string]int                // requests a second that a provider may be asked, by its name; zero: any
	// Moved receives when what leases hang on was replaced, so that Leaser.Bound
	// is to be asked again; nil: that is noticed by and by.
	Moved    <-chan struct{}
	Renderer *render.Renderer
	// CheckVersions are the providers that are asked which version of a held
	// secret is current before its value is read again, by name.
	CheckVersions map[string]bool
	// Memos keeps what the next agent must know of containers; nil: nothing does,
	// and leases that are a container's own outlive the agent until they end.
	Memos  *memo.Dir
	Policy *policy.Policy
	Audit  *audit.Log
	Log    *slog.Logger

	Refresh     time.Duration // how often a held secret is read again
	MaxStale    time.Duration // how old a held secret may serve a start while its provider is unavailable
	RequireGate bool          // stop a labelled container that passed no gate

	Now    func() time.Time
	Wall   func() time.Time // the clock on the wall, which goes on while the machine sleeps; nil: Now
	Jitter func() float64   // in [0, 1)
}

// Broker implements inject.Deliverer.
type Broker struct {
	Options
	store *store
	debts map[workload.StrategyKind]chan struct{} // wakes who applies strategies
	tasks sync.WaitGroup                          // containers that are being taken up

	looked     time.Time // when updateAll last looked at the containers
	unfinished bool      // it could not bring all of them up to date

	mu      sync.Mutex
	taking  int                // how many containers are being taken up
	served  map[string]*served // by container ID
	ungated map[string]bool    // containers that were reported
	// strays are trees without a container that runs or passed a gate of this
	// agent, by container ID, and when each was first seen.
	strays    map[string]time.Time
	memos     map[string]memo.Memo   // what an earlier agent noted, by container ID
	restarted map[string][]time.Time // when a container was restarted for new secrets lately, by ID
}

// served is one container that passed a gate.
type served struct {
	facts workload.Facts
	wants workload.Wants
	gate  string
	since time.Time // when it passed

	started  bool              // the engine said that it runs
	keys     []key             // the secrets that are held for it
	origins  map[string]origin // where they are read, by whole ref; nil: nothing is held yet
	editions map[key]int       // what it has of them; nil: not known
	pruneAt  time.Time         // when its old generation may go; zero: there is none
	failing  string            // why its last update failed, so that it is said once
	owed     bool              // its strategy is still to be applied
	applying bool              // its strategy is being applied
	// variables tells those that its process began with from others; empty: not
	// known.
	variables string
	waits     bool      // that its next restart is put off was told
	taking    bool      // it is being taken up
	takeAt    time.Time // when to try that again
}

// New returns a broker that has not begun to run.
func New(options Options) *Broker {
	b := &Broker{
		Options: options, debts: newDebts(),
		served: map[string]*served{}, ungated: map[string]bool{}, strays: map[string]time.Time{}, restarted: map[string][]time.Time{},
		memos: map[string]memo.Memo{},
	}
	b.store = newStore(options, b.tellTrouble)
	return b
}

// Run watches the engine and keeps what was delivered fresh, until ctx ends.
func (b *Broker) Run(ctx context.Context) error {
	defer b.note()
	defer b.store.close()
	defer b.tasks.Wait()
	b.recollect()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return b.watch(ctx) })
	group.Go(func() error { return b.keepFresh(ctx) })
	for kind := range b.debts {
		group.Go(func() error { return b.react(ctx, kind) })
	}
	return group.Wait()
}

func (b *Broker) get(id string) *served {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.served[id]
}

// begin serves a container from now on. A run of it that came before is over:
// what that had is wiped. An arrival whose gate has given up is such a run too,
// and may be late: it must not end the one that came after it.
func (b *Broker) begin(ctx context.Context, s *served) error {
	id := s.facts.ID
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("its gate waits no longer: %w", err)
	}
	if err := b.Trees.Remove(id); err != nil {
		return fmt.Errorf("the tree of an earlier run could not be wiped: %w", err)
	}
	b.store.disinherit(func(container string) bool { return container == id })
	b.serve(s)
	return nil
}

// serve takes a container on. The caller has locked b.mu.
func (b *Broker) serve(s *served) {
	b.served[s.facts.ID] = s
	delete(b.strays, s.facts.ID)
}

// end wipes what a run of a container had, unless another run of it has begun.
// Its secrets stay in the store for a while, in case it starts again. The tree
// goes under the lock, so that it cannot be that of a run that just begins.
func (b *Broker) end(id string, s *served) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.served[id] != s {
		return
	}
	if err := b.Trees.Remove(id); err != nil {
		b.Log.Error("the tree of a container that ended could not be wiped", "container", id, "error", err)
	}
	delete(b.served, id)
	delete(b.ungated, id)
	delete(b.strays, id)
	delete(b.memos, id)
	b.store.release(id)
}

// oneLine joins errors for a message that is shown on one line.
func oneLine(errs []error) error {
	switch len(errs) {
	case 0:
		return nil
	case 1:
		return errs[0]
	}
	err := errs[0]
	for _, next := range errs[1:] {
		err = fmt.Errorf("%w; %w", err, next)
	}
	return err
}
