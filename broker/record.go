package broker

import (
	"github.com/quaymaster/quaymaster/broker/audit"
	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/broker/workload"
)

// record writes what was decided on each ref of one container. When the
// container gets nothing, only what stood in the way is recorded: for the rest
// nothing was decided. A rotation changes files only: a process keeps the
// variables that it began with.
func (b *Broker) record(s *served, event audit.Event, items []item, refused bool) error {
	var records []audit.Record
	for _, i := range items {
		if refused && (!i.failed() || i.skipped()) {
			continue
		}
		if event == audit.Rotated && !i.failed() && i.want.Kind == workload.Variable {
			continue
		}
		for n := range i.needs {
			records = append(records, b.recordOf(s, event, i, n))
		}
	}
	return b.Audit.Record(records...)
}

// recordOf is the record of one ref. What becomes of the item as a whole is
// said with its own ref, the first.
func (b *Broker) recordOf(s *served, event audit.Event, i item, at int) audit.Record {
	n := i.needs[at]
	r := about(s.facts, event)
	r.Gate, r.Kind, r.Name, r.Ref = s.gate, audit.Kind(i.want.Kind), i.want.Name, n.ref.String()
	r.Grant, r.Reason = n.decision.Grant, n.decision.Reason
	err := n.err
	if err == nil && at == 0 {
		err = i.err
	}
	switch {
	case !n.decision.Allowed:
		r.Decision = audit.Deny
	case err != nil:
		r.Decision, r.Reason = audit.Error, err.Error()
	default:
		r.Decision, r.Version, r.Stale = audit.Allow, n.held.secret.Version, n.held.stale != nil
		if at == 0 {
			r.MAC = b.Audit.MAC(i.content()...)
		}
	}
	return r
}

// content is what the item puts into the container.
func (i item) content() (values []secret.Value) {
	if i.want.Kind == workload.Variable {
		return []secret.Value{i.variable}
	}
	for _, file := range i.files {
		values = append(values, file.Value)
	}
	return values
}

// about begins a record with what the container is.
func about(facts workload.Facts, event audit.Event) audit.Record {
	return audit.Record{Event: event, ContainerID: facts.ID, ContainerName: facts.Name, Image: facts.Image}
}
