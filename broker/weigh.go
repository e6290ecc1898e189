package broker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/quaymaster/quaymaster/broker/policy"
	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/broker/workload"
	"github.com/quaymaster/quaymaster/inject"
	"github.com/quaymaster/quaymaster/providers"
)

// item is one want and what becomes of it.
type item struct {
	want     workload.Want
	needs    []need // the first is the want's own ref
	files    []inject.File
	variable secret.Value
	err      error // why it cannot take the form that was asked for
}

// need is one ref that an item is made from.
type need struct {
	ref      secret.Ref
	decision policy.Decision
	origin   origin
	held     held
	err      error // why it cannot be had
}

// failed reports whether the item cannot be delivered.
func (i *item) failed() bool {
	return i.err != nil || slices.ContainsFunc(i.needs, func(n need) bool { return n.err != nil })
}

// skipped reports whether the container starts without the item: it is
// optional, and what it lacks does not exist.
func (i *item) skipped() bool {
	if !i.want.Optional || !i.failed() || (i.err != nil && !errors.Is(i.err, providers.ErrNotFound)) {
		return false
	}
	return !slices.ContainsFunc(i.needs, func(n need) bool { return n.err != nil && !errors.Is(n.err, providers.ErrNotFound) })
}

// weigh decides on everything that a container at a gate wants, fetches what it
// may have and gives it its form.
func (b *Broker) weigh(ctx context.Context, s *served) ([]item, error) {
	items, err := b.prepare(ctx, s)
	if err != nil || len(problems(items)) > 0 {
		return items, err
	}
	defer b.store.reading()()
	b.fetch(ctx, items)
	b.render(s, items)
	return items, nil
}

// prepare decides on everything that a container wants and has the store keep
// what it may have. Nothing is read for a container that gets nothing.
func (b *Broker) prepare(ctx context.Context, s *served) ([]item, error) {
	items := b.decide(s)
	if len(problems(items)) > 0 {
		return items, nil
	}
	b.locate(ctx, s, items)
	if len(problems(items)) > 0 {
		return items, nil
	}
	if err := checkOwn(s, items); err != nil {
		return items, err
	}
	return items, b.hold(s, items)
}

// weighAgain is weigh for a running container, from what is held for it: it
// reads nothing. errPending says that something is still to be read.
func (b *Broker) weighAgain(s *served) ([]item, error) {
	items := b.decide(s)
	if len(problems(items)) > 0 {
		return items, nil
	}
	defer b.store.reading()()
	if err := b.recall(s, items); err != nil {
		return items, err
	}
	b.render(s, items)
	return items, nil
}

// decide asks policy for each ref that each want needs.
func (b *Broker) decide(s *served) []item {
	selectors := workload.Attest(s.facts)
	items := make([]item, len(s.wants.Items))
	for n, want := range s.wants.Items {
		items[n].want = want
		refs, err := b.refs(want)
		items[n].err = err
		for _, ref := range refs {
			items[n].needs = append(items[n].needs, b.decideOn(selectors, ref))
		}
	}
	return items
}

// refs are those that a want is made from: its own, that of a keystore's
// password, and those that its template names.
func (b *Broker) refs(want workload.Want) ([]secret.Ref, error) {
	refs := []secret.Ref{want.Ref}
	if want.Password != nil {
		refs = append(refs, *want.Password)
	}
	more, err := b.Renderer.Refs(want.Format)
	return append(refs, more...), err
}

func (b *Broker) decideOn(selectors workload.Selectors, ref secret.Ref) need {
	n := need{ref: ref, decision: b.Policy.Decide(selectors, ref)}
	if _, known := b.Providers[ref.Provider]; !known {
		n.err = fmt.Errorf("there is no provider %q in the agent's configuration; the providers are: %s",
			ref.Provider, strings.Join(slices.Sorted(maps.Keys(b.Providers)), ", "))
	} else if !n.decision.Allowed {
		n.err = fmt.Errorf("denied by policy: %s; give it in a grant of the agent's configuration", n.decision.Reason)
	}
	return n
}

// locate finds out where each ref is read, and in whose name.
func (b *Broker) locate(ctx context.Context, s *served, items []item) {
	for n := range items {
		for m := range items[n].needs {
			need := &items[n].needs[m]
			need.origin, need.err = b.originOf(ctx, s, need.ref.Whole(), need.decision.Login)
		}
	}
}

func (b *Broker) originOf(ctx context.Context, s *served, ref secret.Ref, login policy.Login) (origin, error) {
	o := origin{ref: ref, provider: b.Providers[ref.Provider]}
	if delegator, delegates := o.provider.(providers.Delegator); delegates && !login.IsZero() {
		o.delegator, o.container = delegator, s.facts.ID
		if err := b.noteLogin(s, o); err != nil {
			return o, err
		}
		o.provider = delegator.For(clientOf(s.facts, login))
	}
	if issuer, issues := o.provider.(providers.Issuer); issues && !b.store.holdsShared(o) {
		var err error
		if o.issued, err = issuer.Issues(ctx, ref); err != nil {
			return o, err
		}
		if o.issued {
			o.container = s.facts.ID
		}
	}
	return o, nil
}

// noteLogin says that a login is about to be made for a container, unless that
// was removed or began again meanwhile: then nobody would end the login.
func (b *Broker) noteLogin(s *served, o origin) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.served[s.tree] != s {
		return errWentAway
	}
	b.store.noteLogin(o)
	return nil
}

// clientOf is what a provider is told of a container in whose name it reads.
func clientOf(facts workload.Facts, login policy.Login) providers.Client {
	selectors := workload.Attest(facts)
	metadata := map[string]string{
		"container_id": facts.ID, "container_name": facts.Name, "image": facts.Image,
		"compose_project": selectors[workload.SelectorComposeProject], "compose_service": selectors[workload.SelectorComposeService],
	}
	maps.DeleteFunc(metadata, func(_, value string) bool { return value == "" })
	return providers.Client{Container: facts.ID, Role: login.Role, Policies: login.Policies, Metadata: metadata}
}

// hold keeps what the container needs from now on, unless the container was
// removed or began again meanwhile: then nobody would let go of it. What nobody
// waits for at a gate is read as soon as can be.
func (b *Broker) hold(s *served, items []item) error {
	var holdings []holding
	var keys []key
	origins := map[string]origin{}
	for _, i := range items {
		for _, n := range i.needs {
			h := holding{origin: n.origin, refresh: cmp.Or(i.want.Refresh, b.Refresh), soon: s.adopted}
			if n.decision.BootCache {
				h.keeper = s.facts.ID
			}
			holdings = append(holdings, h)
			keys = append(keys, n.origin.key())
			origins[n.ref.Whole().String()] = n.origin
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.served[s.tree] != s {
		return errWentAway
	}
	s.keys, s.origins = keys, origins
	b.store.hold(s.tree, holdings)
	return nil
}

// fetch gets all secrets side by side.
func (b *Broker) fetch(ctx context.Context, items []item) {
	var keys []key
	for _, i := range items {
		for _, n := range i.needs {
			keys = append(keys, n.origin.key())
		}
	}
	answers := b.store.get(ctx, keys)
	for n := range items {
		for m := range items[n].needs {
			need := &items[n].needs[m]
			need.held, need.err = answers[0].held, answers[0].err
			answers = answers[1:]
		}
	}
}

// recall gets what the store offers to a running container.
func (b *Broker) recall(s *served, items []item) error {
	b.mu.Lock()
	origins, has := s.origins, s.editions
	b.mu.Unlock()
	for n := range items {
		for m := range items[n].needs {
			need := &items[n].needs[m]
			known := false
			if need.origin, known = origins[need.ref.Whole().String()]; !known {
				return errUnprepared
			}
			answer := b.store.offer(need.origin.key(), has)
			if errors.Is(answer.err, errPending) {
				return errPending
			}
			need.held, need.err = answer.held, answer.err
		}
	}
	return nil
}

// problems returns why the container cannot start: one error for each reason,
// with all wants that it is the reason for.
func problems(items []item) (errs []error) {
	wants, reasons := map[string][]string{}, []error(nil)
	note := func(i item, ref secret.Ref, err error) {
		reason := err.Error()
		if wants[reason] == nil {
			reasons = append(reasons, err)
		}
		wants[reason] = append(wants[reason], fmt.Sprintf("%s %s (%s)", i.want.Kind, i.want.Name, ref))
	}
	for _, i := range items {
		if i.skipped() {
			continue
		}
		for _, n := range i.needs {
			if n.err != nil {
				note(i, n.ref, n.err)
			}
		}
		if i.err != nil {
			note(i, i.want.Ref, i.err)
		}
	}
	for _, reason := range reasons {
		errs = append(errs, fmt.Errorf("%s: %w", strings.Join(wants[reason.Error()], ", "), reason))
	}
	return errs
}
