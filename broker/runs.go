package broker

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/quaymaster/quaymaster/broker/workload"
	"github.com/quaymaster/quaymaster/inject"
)

// served is what one run of a container got at one gate. A container that
// passes several gates on its way up is served several times, each with a tree
// of its own.
type served struct {
	facts   workload.Facts
	task    *inject.Task     // of a swarm, where it is one and no container
	others  []workload.Facts // the containers that it may be as well, until it is known
	tree    string           // names its tree and itself; at the runtime gate it is the container's ID
	wants   workload.Wants
	profile string // that said so; empty: the container's labels did
	gate    string
	since   time.Time // when it passed

	source   string            // where its tree lies; empty: not known
	unseen   bool              // its container runs and does not see its tree
	started  bool              // the engine said that it runs
	adopted  bool              // it passed its gate in the time of an earlier agent
	keys     []key             // the secrets that are held for it
	origins  map[string]origin // where they are read, by whole ref; nil: nothing is held yet
	editions map[key]int       // what it has of them; nil: not known
	pruneAt  time.Time         // when its old generation may go; zero: there is none
	failing  string            // why its last update failed, so that it is said once
	owed     bool              // its strategy is still to be applied
	owedAt   time.Time         // since when
	applying bool              // its strategy is being applied
	// variables tells those that its process began with from others; empty: not
	// known.
	variables string
	waits     bool      // that its next restart is put off was told
	taking    bool      // it is being taken up
	takeAt    time.Time // when to try that again
}

// runsOf returns what runs of a container are served. The caller has locked
// b.mu.
func (b *Broker) runsOf(container string) (runs []*served) {
	for _, s := range b.served {
		if s.facts.ID == container {
			runs = append(runs, s)
		}
	}
	return runs
}

func (b *Broker) get(tree string) *served {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.served[tree]
}

// servedByLabels reports whether a gate gave a container what its labels say.
func (b *Broker) servedByLabels(container string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.hasRunByLabels(container)
}

// hasRunByLabels is servedByLabels for a caller who has locked b.mu.
func (b *Broker) hasRunByLabels(container string) bool {
	return slices.ContainsFunc(b.runsOf(container), func(s *served) bool { return s.profile == "" })
}

// isOf reports whether a tree is that of a running container.
func (b *Broker) isOf(tree string, facts workload.Facts) bool {
	return len(b.owned([]string{tree}, []workload.Facts{facts})[facts.ID]) > 0
}

// begin serves a container from now on. A run of it that came before is over:
// what that had at this gate is wiped. An arrival whose gate has given up is
// such a run too, and may be late: it must not end the one that came after it.
func (b *Broker) begin(ctx context.Context, s *served) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("its gate waits no longer: %w", err)
	}
	if err := b.Trees.Remove(s.tree); err != nil {
		return fmt.Errorf("the tree of an earlier run could not be wiped: %w", err)
	}
	b.store.disinherit(func(container string) bool { return container == s.facts.ID })
	b.serve(s)
	return nil
}

// serve takes a run on. The caller has locked b.mu.
func (b *Broker) serve(s *served) {
	b.served[s.tree] = s
	delete(b.strays, s.tree)
}

// end wipes what a run of a container had, unless another run of it has begun;
// nil stands for one that is not served. Its secrets stay in the store for a
// while, in case it starts again. The tree goes under the lock, so that it
// cannot be that of a run that just begins.
func (b *Broker) end(tree string, s *served) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.served[tree] != s {
		return
	}
	if s == nil || s.task == nil {
		if err := b.Trees.Remove(tree); err != nil {
			b.Log.Error("the tree of a container that ended could not be wiped", "tree", tree, "error", err)
		}
	}
	container := b.containerOf(tree)
	delete(b.served, tree)
	delete(b.strays, tree)
	delete(b.memos, tree)
	b.store.release(tree)
	if len(b.runsOf(container)) == 0 {
		delete(b.ungated, container)
		b.store.disinherit(func(id string) bool { return id == container })
	}
}

// containerOf is whose tree it is. The caller has locked b.mu.
func (b *Broker) containerOf(tree string) string {
	if s := b.served[tree]; s != nil {
		return s.facts.ID
	}
	if noted := b.memos[tree].Container; noted != "" {
		return noted
	}
	return tree
}

// End implements inject.Ender.
func (b *Broker) End(_ context.Context, tree string) {
	b.end(tree, b.get(tree))
}

var _ inject.Ender = (*Broker)(nil)
