package broker

import (
	"cmp"
	"context"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/quaymaster/quaymaster/broker/audit"
	"github.com/quaymaster/quaymaster/broker/workload"
	"github.com/quaymaster/quaymaster/inject"
)

// gateAdopted stands for the gate of a container that passed one in the time of
// an earlier agent, where that left no note.
const gateAdopted = "adopted"

// watch follows containers. A container's events come in order, but later than
// its gate: the beginning and the end of one run may be reported when the next
// has already passed the gate.
func (b *Broker) watch(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		return b.Engine.Watch(ctx, func(event inject.Event) {
			switch event.Kind {
			case inject.Connected:
				b.noteFailed()
				if err := b.resync(ctx, group); err != nil {
					b.Log.Warn("running containers could not be listed", "error", err)
				}
			case inject.Started:
				b.onStarted(ctx, group, event)
			case inject.Died:
				b.onDied(event)
			case inject.Removed:
				b.onRemoved(event.Container)
			}
		})
	})
	return group.Wait()
}

func (b *Broker) markStarted(s *served) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s.started = true
	b.store.changeNow() // something may have changed since its gate
}

func (b *Broker) onStarted(ctx context.Context, group *errgroup.Group, event inject.Event) {
	id := event.Container
	if b.isDoubted(id) {
		b.identify(ctx)
	}
	var known *served
	for _, s := range b.treesOf(id) {
		if s == nil {
			continue
		}
		known = s
		if b.is(s, func(s *served) bool { return s.isAbout(event) }) {
			b.markStarted(s)
			b.lookAfter(ctx, group, s)
		}
	}
	if known != nil {
		b.lookForLabels(ctx, group, known.facts)
		return
	}
	facts, err := b.Engine.Facts(ctx, id, "")
	if err != nil {
		b.Log.Warn("what a container is that has started could not be learnt", "container", id, "error", err)
		return
	}
	trees, err := b.Trees.List()
	if err != nil {
		b.Log.Error("the trees could not be listed", "error", err)
		return
	}
	b.meet(ctx, group, facts, b.owned(trees, []workload.Facts{facts})[id])
}

func (b *Broker) onDied(event inject.Event) {
	for tree, s := range b.treesOf(event.Container) {
		switch {
		case s == nil && b.isMounted(tree):
			b.noteStray(tree)
		case s == nil || b.is(s, func(s *served) bool { return s.endsWith(event) }):
			b.end(tree, s)
		}
	}
}

// isMounted reports whether a tree of an earlier agent's time is that of a
// volume: whether its run has begun is not known, so that no end that is
// reported is taken for its own.
func (b *Broker) isMounted(tree string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.memos[tree].Gate == inject.GateVolume
}

func (b *Broker) onRemoved(container string) {
	for tree, s := range b.treesOf(container) {
		if s == nil || b.is(s, func(s *served) bool { return s.phase() != runDoubted }) { // else another may have it mounted; whose it is, its volume gate unmounts
			b.end(tree, s)
		}
	}
	b.store.drop(container)
	b.forgetRestart(container)
}

// treesOf are the trees that a container has or may have, with what is served
// there; nil: nothing, or it was served by an earlier agent.
func (b *Broker) treesOf(container string) map[string]*served {
	b.mu.Lock()
	defer b.mu.Unlock()
	trees := map[string]*served{container: b.served[container]}
	for _, s := range b.runsOf(container) {
		trees[s.tree] = s
	}
	for tree, noted := range b.memos {
		if noted.Container == container {
			trees[tree] = b.served[tree]
		}
	}
	return trees
}

// owned returns the trees of each of the running containers, by its ID. A mount
// tells by its ID; of other trees it is known whose they are.
func (b *Broker) owned(trees []string, running []workload.Facts) map[string][]string {
	mounted, runs := map[string]string{}, map[string]bool{}
	for _, facts := range running {
		runs[facts.ID] = true
		for _, volume := range facts.Volumes {
			mounted[volume.MountID] = facts.ID
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	owned := map[string][]string{}
	for _, tree := range trees {
		owner, isMounted := mounted[tree]
		if !isMounted {
			owner = b.containerOf(tree)
		}
		if runs[owner] {
			owned[owner] = append(owned[owner], tree)
		}
	}
	return owned
}

// resync brings what the broker knows in line with what runs, after a gap in
// the events: at the agent's start, or when the engine was away.
func (b *Broker) resync(ctx context.Context, group *errgroup.Group) error {
	asked := b.Now()
	running, err := b.Engine.Running(ctx)
	if err != nil {
		return err
	}
	trees, err := b.Trees.List()
	if err != nil {
		return err
	}
	b.recognise(running)
	alive, owned := map[string]bool{}, b.owned(trees, running)
	for _, facts := range running {
		alive[facts.ID] = true
		for _, tree := range owned[facts.ID] {
			alive[tree] = true
			seen := func(s *served) bool { return s.isAbout(inject.Event{At: asked}) }
			if s := b.get(tree); s != nil && b.is(s, seen) { // else it is a run before this one that was seen
				b.markStarted(s)
			}
		}
		b.meet(ctx, group, facts, owned[facts.ID])
	}
	for _, tree := range trees {
		if alive[tree] {
			continue
		}
		if s := b.get(tree); s == nil {
			b.noteStray(tree)
		} else if b.is(s, func(s *served) bool { return s.phase() == runBegun }) {
			b.end(tree, s)
		}
	}
	have := b.haveTrees(trees)
	b.store.disinherit(func(id string) bool { return !alive[id] && !have[id] })
	return nil
}

// haveTrees returns the containers whose trees these are.
func (b *Broker) haveTrees(trees []string) map[string]bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	have := map[string]bool{}
	for _, tree := range trees {
		have[b.containerOf(tree)] = true
	}
	return have
}

// noteStray leaves the tree of a container that does not run for a while: it
// may have passed the gate of an agent that has just ended, and be about to
// start.
func (b *Broker) noteStray(tree string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, noted := b.strays[tree]; !noted {
		b.strays[tree] = b.Now()
	}
}

// meet takes up a running container that this agent has not let through a gate
// itself. With a tree it passed the gate of an earlier agent: the tree is kept
// and kept fresh. Without, it passed none.
func (b *Broker) meet(ctx context.Context, group *errgroup.Group, facts workload.Facts, trees []string) {
	for _, tree := range trees {
		switch {
		case b.get(tree) != nil:
		case b.RequireGate && b.isLate(tree): // it passed no gate then either
			b.reportUngated(ctx, group, facts)
		default:
			b.takeOver(tree, facts)
		}
	}
	if !slices.Contains(trees, facts.ID) { // a tree of that name is what its labels brought, also where that is not kept fresh
		b.lookForLabels(ctx, group, facts)
	}
}

// lookForLabels reports a running container whose labels have brought it
// nothing. A volume or a device with a profile gives what the profile says: what
// the labels say comes through the runtime gate.
func (b *Broker) lookForLabels(ctx context.Context, group *errgroup.Group, facts workload.Facts) {
	if workload.Labelled(facts.Labels) && !b.servedByLabels(facts.ID) {
		b.reportUngated(ctx, group, facts)
	}
}

// isLate reports whether an earlier agent gave the tree to a container that ran
// already.
func (b *Broker) isLate(tree string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.memos[tree].Gate == inject.GateLate
}

// takeOver serves a run that passed the gate of an earlier agent.
func (b *Broker) takeOver(tree string, facts workload.Facts) {
	b.mu.Lock()
	noted, known := b.memos[tree]
	b.mu.Unlock()
	if tree != facts.ID && !known {
		b.Log.Warn("a running container is no longer kept fresh: what it wanted at its gate is not known any more; restart it", "container", facts.Name)
		return
	}
	if tree == facts.ID && noted.Profile == "" && !workload.Labelled(facts.Labels) {
		return
	}
	wants, err := b.wantsOf(facts, noted.Profile)
	if err != nil {
		b.Log.Warn("a running container is no longer kept fresh", "container", facts.Name, "error", err)
		return
	}
	if b.adopt(tree, facts, wants) {
		b.Log.Info("container adopted", "container", facts.Name, "id", facts.ID)
		b.store.changeNow()
	}
}

// adopt serves a container as it runs, unless its next run has passed a gate
// meanwhile. The earlier agent may have left an old generation in the tree.
func (b *Broker) adopt(tree string, facts workload.Facts, wants workload.Wants) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.served[tree] != nil {
		return false
	}
	now := b.Now()
	noted := b.memos[tree]
	facts.User = noted.User
	s := &served{facts: facts, tree: tree, wants: wants, profile: noted.Profile, gate: cmp.Or(noted.Gate, gateAdopted), since: now,
		started: true, adopted: true, pruneAt: now.Add(pruneAfter), variables: noted.Variables}
	b.serve(s)
	if noted.Owed {
		b.owe(s)
	}
	return true
}

// reportUngated tells, once for each run, of a labelled container that came up
// without passing a gate: its first instruction has already run without its
// secrets. It gets them late where the configuration says so.
func (b *Broker) reportUngated(ctx context.Context, group *errgroup.Group, facts workload.Facts) {
	b.mu.Lock()
	_, known := b.ungated[facts.ID]
	b.ungated[facts.ID] = facts
	b.mu.Unlock()
	if known {
		return
	}
	if b.LateAttach {
		b.attachLate(ctx, group, facts)
		return
	}
	b.tellUngated(ctx, group, facts, nil)
}

// tellUngated tells of a container that runs without its secrets, and why it
// cannot be given them late.
func (b *Broker) tellUngated(ctx context.Context, group *errgroup.Group, facts workload.Facts, why error) {
	args := []any{"container", facts.Name, "id", facts.ID, "image", facts.Image, "stopped", b.RequireGate,
		"remedy", "quaymaster install docker-runtime, then create it with --runtime quaymaster, or make that the default"}
	if why != nil {
		args = append(args, "late", why)
	}
	b.Log.Error("a labelled container runs WITHOUT its secrets: it passed no gate", args...)
	if err := b.Audit.Record(about(facts, audit.Ungated)); err != nil {
		b.Log.Error("audit", "error", err)
	}
	if b.RequireGate {
		group.Go(func() error { // not on the watch: an unwilling container takes its time to stop
			b.stop(ctx, facts)
			return nil
		})
	}
}

// stop ends a container that runs without its secrets.
func (b *Broker) stop(ctx context.Context, facts workload.Facts) {
	if err := b.Engine.Stop(ctx, facts.ID); err != nil {
		b.Log.Error("a container that runs without its secrets could not be stopped", "container", facts.Name, "error", err)
	}
}
