package broker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/quaymaster/quaymaster/broker/audit"
	"github.com/quaymaster/quaymaster/broker/policy"
	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/broker/workload"
	"github.com/quaymaster/quaymaster/inject"
	"github.com/quaymaster/quaymaster/providers"
)

// maxVariable is the longest NAME=value that Linux passes to a process,
// without its final zero byte (MAX_ARG_STRLEN in linux/binfmts.h, 32 pages).
const maxVariable = 32*4096 - 1

// fetches is how many secrets of one container are fetched at a time.
const fetches = 16

// Deliver implements inject.Deliverer. The container waits: it starts with
// everything it was granted, or not at all.
func (b *Broker) Deliver(ctx context.Context, arrival inject.Arrival) (inject.Delivery, error) {
	facts, err := b.Engine.Facts(ctx, arrival.Container, arrival.EngineDir)
	if err != nil {
		return inject.Delivery{}, fmt.Errorf("container %s: what it is could not be learnt: %w", arrival.Container, err)
	}
	if !workload.Labelled(facts.Labels) {
		return inject.Delivery{}, nil
	}
	user := workload.User(arrival.User)
	facts.User = &user
	delivery, err := b.deliver(ctx, arrival, facts)
	if err != nil {
		b.Log.Warn("start refused", "container", facts.Name, "id", facts.ID, "reason", err)
		return inject.Delivery{}, fmt.Errorf("container %s: %w", facts.Name, err)
	}
	return delivery, nil
}

// deliver is the way of one container's secrets.
func (b *Broker) deliver(ctx context.Context, arrival inject.Arrival, facts workload.Facts) (inject.Delivery, error) {
	// 1. What does it ask for, and can this container be given it at all?
	wants, err := workload.ParseLabels(facts.Labels, workload.Attest(facts))
	if err != nil {
		return inject.Delivery{}, oneLine(unjoin(err))
	}
	if err := fits(arrival, wants); err != nil {
		return inject.Delivery{}, err
	}
	owner, err := ownerOf(arrival, wants)
	if err != nil {
		return inject.Delivery{}, err
	}

	// 2. From here on its secrets are held for it.
	s := &served{facts: facts, wants: wants, gate: arrival.Gate, since: b.Now()}
	if err := b.begin(ctx, s); err != nil {
		return inject.Delivery{}, err
	}

	// 3. Decide, fetch and record; then write, and answer the gate.
	delivery, err := b.furnish(ctx, s, owner)
	if err != nil {
		b.end(facts.ID, s)
	}
	return delivery, err
}

// furnish resolves everything and makes the container's tree.
func (b *Broker) furnish(ctx context.Context, s *served, owner inject.Owner) (inject.Delivery, error) {
	bundle, editions, err := b.settle(s, audit.Decision, b.weigh(ctx, s))
	if err != nil {
		return inject.Delivery{}, err
	}
	source, err := b.create(s, owner, bundle.Files, editions)
	if err != nil {
		return inject.Delivery{}, err
	}
	b.Log.Info("secrets delivered", "container", s.facts.Name, "id", s.facts.ID,
		"files", len(bundle.Files), "variables", len(bundle.Variables))
	delivery := inject.Delivery{Variables: bundle.Variables}
	if len(bundle.Files) > 0 {
		delivery.Source, delivery.Target = source, s.wants.Path
	}
	return delivery, nil
}

// create makes the container's tree, unless the container was removed or began
// again meanwhile: then nobody would wipe the tree, or it would replace the one
// that the new run has mounted.
func (b *Broker) create(s *served, owner inject.Owner, files []inject.File, editions map[string]int) (source string, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.served[s.facts.ID] != s {
		return "", errors.New("it was removed, or began again, while its secrets were fetched")
	}
	if source, err = b.Trees.Create(s.facts.ID, owner, files); err != nil {
		return "", fmt.Errorf("its secrets could not be written: %w", err)
	}
	s.editions = editions
	return source, nil
}

// fits reports why a container cannot be given what it asks for, whatever
// policy says.
func fits(arrival inject.Arrival, wants workload.Wants) error {
	for _, mount := range arrival.Mounts {
		mount = path.Clean(mount)
		if mount == wants.Path || strings.HasPrefix(mount, wants.Path+"/") {
			return fmt.Errorf("it already mounts something at %s, where its secrets belong: "+
				"remove that mount, or choose another directory with the label %spath", mount, workload.Prefix)
		}
	}
	for _, want := range wants.Items {
		if want.Kind == workload.Variable && !arrival.MemoryOnly {
			return fmt.Errorf("the variable %s would be written to a disk, because the engine's exec-root (by default /run/docker) "+
				"is not on a tmpfs: mount one there, or use the label %ssecret.<name>", want.Name, workload.Prefix)
		}
	}
	return nil
}

// ownerOf returns who owns the files, as the host's kernel numbers users.
func ownerOf(arrival inject.Arrival, wants workload.Wants) (inject.Owner, error) {
	inside := arrival.User
	if wants.Owner != nil {
		inside = inject.Owner(*wants.Owner)
	}
	uid, uidMapped := onHost(arrival.UIDMap, inside.UID)
	gid, gidMapped := onHost(arrival.GIDMap, inside.GID)
	if !uidMapped || !gidMapped {
		return inject.Owner{}, fmt.Errorf("user %d:%d does not exist in its user namespace: choose another with the label %sowner",
			inside.UID, inside.GID, workload.Prefix)
	}
	return inject.Owner{UID: uid, GID: gid}, nil
}

func onHost(maps []inject.IDMap, id uint32) (uint32, bool) {
	if len(maps) == 0 {
		return id, true
	}
	for _, m := range maps {
		if id >= m.Container && id-m.Container < m.Size {
			return m.Host + (id - m.Container), true
		}
	}
	return 0, false
}

// outcome is what became of one want.
type outcome struct {
	want     workload.Want
	decision policy.Decision
	held     held
	value    secret.Value
	err      error // why it is not delivered
}

// skipped reports whether the container starts without it.
func (o outcome) skipped() bool {
	return o.want.Optional && errors.Is(o.err, providers.ErrNotFound)
}

// weigh decides on everything the container wants and fetches what it may have.
func (b *Broker) weigh(ctx context.Context, s *served) []outcome {
	outcomes := b.decide(s)
	if len(problems(outcomes)) == 0 { // else nothing is fetched: the container gets nothing anyway
		b.fetchAll(ctx, outcomes)
	}
	return outcomes
}

// settle records the outcomes and makes the bundle: nothing that has not been
// recorded is delivered. With the bundle comes the edition of each secret in
// it, by the key of its whole ref.
func (b *Broker) settle(s *served, event audit.Event, outcomes []outcome) (inject.Bundle, map[string]int, error) {
	refused := oneLine(problems(outcomes))
	if err := b.record(s, event, outcomes, refused != nil); err != nil {
		return inject.Bundle{}, nil, err
	}
	if refused != nil {
		return inject.Bundle{}, nil, refused
	}
	bundle, editions := inject.Bundle{}, map[string]int{}
	for _, o := range outcomes {
		if o.skipped() {
			continue
		}
		editions[o.want.Ref.Whole().String()] = o.held.edition
		if o.want.Kind == workload.File {
			bundle.Files = append(bundle.Files, inject.File{Name: o.want.Name, Mode: s.wants.Mode, Value: o.value})
		} else {
			bundle.Variables = append(bundle.Variables, inject.Variable{Name: o.want.Name, Value: o.value})
		}
	}
	return bundle, editions, nil
}

// decide asks policy for each want.
func (b *Broker) decide(s *served) []outcome {
	selectors := workload.Attest(s.facts)
	outcomes := make([]outcome, 0, len(s.wants.Items))
	for _, want := range s.wants.Items {
		o := outcome{want: want, decision: b.Policy.Decide(selectors, want.Ref)}
		if _, known := b.Providers[want.Ref.Provider]; !known {
			o.err = fmt.Errorf("there is no provider %q in the agent's configuration; the providers are: %s",
				want.Ref.Provider, strings.Join(slices.Sorted(maps.Keys(b.Providers)), ", "))
		} else if !o.decision.Allowed {
			o.err = fmt.Errorf("denied by policy: %s; give it in a grant of the agent's configuration", o.decision.Reason)
		}
		outcomes = append(outcomes, o)
	}
	return outcomes
}

// fetchAll gets the values side by side.
func (b *Broker) fetchAll(ctx context.Context, outcomes []outcome) {
	var group errgroup.Group
	group.SetLimit(fetches)
	for i := range outcomes {
		group.Go(func() error {
			o := &outcomes[i]
			o.held, o.value, o.err = b.fetch(ctx, o.want)
			return nil // each outcome carries its own error
		})
	}
	_ = group.Wait() // no function of the group returns an error
}

func (b *Broker) fetch(ctx context.Context, want workload.Want) (held, secret.Value, error) {
	h, err := b.store.get(ctx, want.Ref)
	if err != nil {
		return held{}, secret.Value{}, err
	}
	value, err := h.secret.Select(want.Ref.Field)
	if err != nil {
		return held{}, secret.Value{}, fmt.Errorf("%w: %w", providers.ErrNotFound, err)
	}
	return h, value, deliverable(want, value)
}

// deliverable reports why a value cannot take the form that was asked for.
func deliverable(want workload.Want, value secret.Value) error {
	if value.Len() > secret.MaxValueSize {
		return fmt.Errorf("the value has %d bytes: the limit is %d", value.Len(), secret.MaxValueSize)
	}
	if want.Kind != workload.Variable {
		return nil
	}
	if len(want.Name)+1+value.Len() > maxVariable {
		return fmt.Errorf("the value has %d bytes, too many for an environment variable: use the label %ssecret.<name>",
			value.Len(), workload.Prefix)
	}
	if bytes.IndexByte(value.Reveal(), 0) >= 0 { // only the verdict leaves
		return fmt.Errorf("the value contains a zero byte, which no environment variable can: use the label %ssecret.<name>", workload.Prefix)
	}
	return nil
}

// problems returns why the container cannot start: one error for each reason,
// with all wants that it is the reason for.
func problems(outcomes []outcome) (errs []error) {
	wants := map[string][]string{}
	for _, o := range outcomes {
		if o.err != nil && !o.skipped() {
			reason := o.err.Error()
			wants[reason] = append(wants[reason], fmt.Sprintf("%s %s (%s)", o.want.Kind, o.want.Name, o.want.Ref))
		}
	}
	for _, o := range outcomes {
		if o.err == nil {
			continue
		}
		if names := wants[o.err.Error()]; len(names) > 0 {
			errs = append(errs, fmt.Errorf("%s: %w", strings.Join(names, ", "), o.err))
			delete(wants, o.err.Error())
		}
	}
	return errs
}

// unjoin takes apart what errors.Join made.
func unjoin(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	return []error{err}
}
