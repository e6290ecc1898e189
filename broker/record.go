package broker

import (
	"github.com/quaymaster/quaymaster/broker/audit"
	"github.com/quaymaster/quaymaster/broker/workload"
)

// record writes what was decided on each want of one container. When the
// container gets nothing, only what stood in the way is recorded: for the rest
// nothing was decided. A rotation changes files only: a process keeps the
// variables that it began with.
func (b *Broker) record(s *served, event audit.Event, outcomes []outcome, refused bool) error {
	var records []audit.Record
	for _, o := range outcomes {
		if refused && (o.err == nil || o.skipped()) {
			continue
		}
		if event == audit.Rotated && o.err == nil && o.want.Kind == workload.Variable {
			continue
		}
		records = append(records, b.recordOf(s, event, o))
	}
	return b.Audit.Record(records...)
}

func (b *Broker) recordOf(s *served, event audit.Event, o outcome) audit.Record {
	r := about(s.facts, event)
	r.Gate, r.Kind, r.Name, r.Ref = s.gate, audit.Kind(o.want.Kind), o.want.Name, o.want.Ref.String()
	r.Grant, r.Reason = o.decision.Grant, o.decision.Reason
	switch {
	case !o.decision.Allowed:
		r.Decision = audit.Deny
	case o.err != nil:
		r.Decision, r.Reason = audit.Error, o.err.Error()
	default:
		r.Decision, r.Version = audit.Allow, o.held.secret.Version
		r.MAC, r.Stale = b.Audit.MAC(o.value), o.held.stale != nil
	}
	return r
}

// about begins a record with what the container is.
func about(facts workload.Facts, event audit.Event) audit.Record {
	return audit.Record{Event: event, ContainerID: facts.ID, ContainerName: facts.Name, Image: facts.Image}
}
