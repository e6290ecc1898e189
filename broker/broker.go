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
	"github.com/quaymaster/quaymaster/broker/secret"
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
	// Failed returns the containers whose last start failed and which may
	// concern the agent.
	Failed(ctx context.Context) ([]inject.Failure, error)
	Start(ctx context.Context, id string) error
	// Process describes a running container as an arrival without a gate.
	Process(ctx context.Context, id string) (inject.Arrival, error)
	// Tasks returns the IDs of the swarm's tasks that are not over.
	Tasks(ctx context.Context) (map[string]bool, error)
	// TellService has a service of the swarm say, to whoever inspects it, why
	// its tasks do not get their secrets; an empty text takes that back.
	TellService(ctx context.Context, serviceID, text string) error
	// ServiceState says how the last update of a service goes, in the swarm's
	// words; empty: it has not begun, or there is none.
	ServiceState(ctx context.Context, serviceID string) (state, message string, err error)
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
	// Profiles are what containers want by the name of a set of labels.
	Profiles workload.Profiles
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
	// HandedOn is what the agent before this one held; the values are the
	// Broker's.
	HandedOn []secret.Held
	// BootCache keeps secrets for the next boot; nil: none are.
	BootCache Cache
	// LateAttach gives a labelled container that passed no gate its files
	// afterwards. Attacher is what does it, then and on request.
	LateAttach bool
	Attacher   inject.Attacher
	// StartFailed starts containers again that failed to start because the agent
	// or a store was away. Driver is what the engine calls the agent's volume
	// driver; empty: there is none.
	StartFailed bool
	Driver      string
	// ExecVariables has processes that are started in a container later get its
	// variables too.
	ExecVariables bool

	Now    func() time.Time
	Wall   func() time.Time // the clock on the wall, which goes on while the machine sleeps; nil: Now
	Jitter func() float64   // in [0, 1)
}

// Broker implements inject.Deliverer.
type Broker struct {
	Options
	store     *store
	debts     map[workload.StrategyKind]chan struct{} // wakes who applies strategies
	tasks     sync.WaitGroup                          // containers that are being taken up
	services  services                                // of the swarm
	failed    chan struct{}                           // receives when a start has failed, or may have
	attaching sync.Mutex                              // one late attach at a time

	cacheLoaded bool      // what an earlier boot kept has been taken up, or is of no use
	looked      time.Time // when updateAll last looked at the containers
	unfinished  bool      // it could not bring all of them up to date

	mu      sync.Mutex
	taking  int                       // how many containers are being taken up
	served  map[string]*served        // by tree
	ungated map[string]workload.Facts // containers that run without their secrets and were reported, by ID
	// strays are trees without a container that runs or passed a gate of this
	// agent, and when each was first seen.
	strays    map[string]time.Time
	memos     map[string]memo.Memo   // what an earlier agent noted, by tree or container
	restarted map[string][]time.Time // when a container was restarted for new secrets lately, by ID
}

// New returns a broker that has not begun to run.
func New(options Options) *Broker {
	b := &Broker{
		Options: options, debts: newDebts(),
		served: map[string]*served{}, ungated: map[string]workload.Facts{}, strays: map[string]time.Time{}, restarted: map[string][]time.Time{},
		memos: map[string]memo.Memo{},
	}
	b.failed = make(chan struct{}, 1)
	b.services = services{known: map[string]*service{}, wake: make(chan struct{}, 1)}
	b.store = newStore(options, b.tellTrouble)
	b.store.seed(options.HandedOn, options.Providers, "")
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
	if b.BootCache != nil {
		group.Go(func() error { return b.keepCache(ctx) })
	}
	if b.StartFailed {
		group.Go(func() error { return b.revive(ctx) })
	}
	group.Go(func() error { return b.attend(ctx) })
	for kind := range b.debts {
		group.Go(func() error { return b.react(ctx, kind) })
	}
	return group.Wait()
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
