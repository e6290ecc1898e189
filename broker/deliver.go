package broker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"strings"

	"github.com/quaymaster/quaymaster/broker/audit"
	"github.com/quaymaster/quaymaster/broker/workload"
	"github.com/quaymaster/quaymaster/inject"
)

// maxVariable is the longest NAME=value that Linux passes to a process,
// without its final zero byte (MAX_ARG_STRLEN in linux/binfmts.h, 32 pages).
const maxVariable = 32*4096 - 1

// errWentAway says that a container's run is over before its secrets came.
var errWentAway = errors.New("it was removed, or began again, while its secrets were fetched")

// Deliver implements inject.Deliverer. The container waits: it starts with
// everything it was granted, or not at all.
func (b *Broker) Deliver(ctx context.Context, arrival inject.Arrival) (inject.Delivery, error) {
	s, err := b.meetAtGate(ctx, arrival)
	if err != nil {
		return inject.Delivery{}, err
	}
	if arrival.Profile == "" && !workload.Labelled(s.facts.Labels) {
		return inject.Delivery{}, nil
	}
	delivery, err := b.deliver(ctx, arrival, s)
	if err != nil {
		b.noteFailed()
		b.Log.Warn("start refused", "container", s.facts.Name, "id", s.facts.ID, "gate", s.gate, "reason", err)
		return inject.Delivery{}, fmt.Errorf("container %s: %w", s.facts.Name, err)
	}
	return delivery, nil
}

// meetAtGate learns which container waits, and which it may be as well.
func (b *Broker) meetAtGate(ctx context.Context, arrival inject.Arrival) (*served, error) {
	s := &served{tree: cmp.Or(arrival.Tree, arrival.Container), profile: arrival.Profile, gate: arrival.Gate, since: b.Now()}
	for n, id := range append([]string{arrival.Container}, arrival.Others...) {
		engineDir := arrival.EngineDir
		if n > 0 && engineDir != "" { // they lie beside each other
			engineDir = filepath.Join(filepath.Dir(engineDir), id)
		}
		facts, err := b.Engine.Facts(ctx, id, engineDir)
		if err != nil {
			return nil, fmt.Errorf("container %s: what it is %s: %w", id, inject.NotLearnt, err)
		}
		if arrival.User != nil {
			user := workload.User(*arrival.User)
			facts.User = &user
		}
		if n > 0 {
			s.others = append(s.others, facts)
			continue
		}
		s.facts = facts
	}
	return s, nil
}

// deliver is the way of one container's secrets.
func (b *Broker) deliver(ctx context.Context, arrival inject.Arrival, s *served) (inject.Delivery, error) {
	// 1. What does it ask for, and can this container be given it at all?
	var err error
	if s.wants, err = b.wantsOf(s.facts, s.profile); err != nil {
		return inject.Delivery{}, err
	}
	if err := fits(arrival, s.wants); err != nil {
		return inject.Delivery{}, err
	}
	owner, err := ownerOf(arrival, s.wants)
	if err != nil {
		return inject.Delivery{}, err
	}
	if err := b.checkOthers(s); err != nil {
		return inject.Delivery{}, err
	}

	// 2. From here on it is served: what it needs is held for it.
	if err := b.begin(ctx, s); err != nil {
		return inject.Delivery{}, err
	}

	// 3. Decide, fetch and record; then write, and answer the gate.
	delivery, err := b.furnish(ctx, s, owner)
	if err != nil {
		b.end(s.tree, s)
	}
	return delivery, err
}

// wantsOf is what a container asks for: by the profile that its gate names, or
// else by its labels, which may name one.
func (b *Broker) wantsOf(facts workload.Facts, profile string) (workload.Wants, error) {
	wants, err := b.Profiles.Parse(facts.Labels, profile, workload.Attest(facts))
	return wants, oneLine(unjoin(err))
}

// furnish resolves everything and makes the container's tree.
func (b *Broker) furnish(ctx context.Context, s *served, owner inject.Owner) (delivery inject.Delivery, err error) {
	items, err := b.weigh(ctx, s)
	defer wipe(items, workload.File)
	if err == nil {
		err = b.settle(s, audit.Decision, items)
	}
	var source string
	bundle, editions := bundleOf(items)
	if err == nil {
		source, err = b.create(s, owner, bundle, editions)
	}
	if err != nil {
		wipe(items, workload.Variable)
		return inject.Delivery{}, err
	}
	b.Log.Info("secrets delivered", "container", s.facts.Name, "id", s.facts.ID,
		"files", len(bundle.Files), "variables", len(bundle.Variables))
	delivery.Variables, delivery.ExecVariables = bundle.Variables, b.ExecVariables
	if len(bundle.Files) > 0 {
		delivery.Source, delivery.Target = source, s.wants.Path
	}
	return delivery, nil
}

// wipe overwrites what was rendered in one form, once it is written or will
// not be.
func wipe(items []item, kind workload.Kind) {
	for _, i := range items {
		if i.want.Kind == kind {
			for _, value := range i.content() {
				value.Wipe()
			}
		}
	}
}

// create makes the container's tree, unless the container was removed or began
// again meanwhile: then nobody would wipe the tree, or it would replace the one
// that the new run has mounted.
func (b *Broker) create(s *served, owner inject.Owner, bundle inject.Bundle, editions map[key]int) (source string, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.served[s.tree] != s {
		return "", errWentAway
	}
	if source, err = b.Trees.Create(s.tree, owner, bundle.Files); err != nil {
		return "", fmt.Errorf("its secrets could not be written: %w", err)
	}
	s.source = source
	s.editions, s.variables = editions, b.sum(s, bundle)
	b.store.touchNow(s.tree)
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
		switch {
		case want.Kind == workload.File && arrival.Gate != inject.GateVolume && strings.HasPrefix(wants.Path+"/", "/proc/"):
			// runc mounts nothing there (checkProcMount of its rootfs_linux.go);
			// a volume lies where the container says.
			return fmt.Errorf("its secrets cannot be at %s, because nothing can be mounted inside /proc: "+
				"choose another directory with the label %spath", wants.Path, workload.Prefix)
		case want.Kind != workload.Variable:
		case arrival.FilesOnly:
			return fmt.Errorf("the variable %s cannot come through the %s gate, which brings files only: "+
				"use the runtime gate (quaymaster install docker-runtime), or the label %ssecret.<name>", want.Name, arrival.Gate, workload.Prefix)
		case !arrival.MemoryOnly:
			return fmt.Errorf("the variable %s would be written to a disk, because the engine's exec-root (by default /run/docker) "+
				"is not on a tmpfs: mount one there, or use the label %ssecret.<name>", want.Name, workload.Prefix)
		}
	}
	return nil
}

// ownerOf returns who owns the files, as the host's kernel numbers users.
func ownerOf(arrival inject.Arrival, wants workload.Wants) (inject.Owner, error) {
	var inside inject.Owner
	switch {
	case wants.Owner != nil:
		inside = inject.Owner(*wants.Owner)
	case arrival.User != nil:
		inside = *arrival.User
	default:
		return inject.Owner{}, fmt.Errorf("as which user its process runs is known to its image alone: say who owns its files with the label %sowner, in numbers", workload.Prefix)
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

// settle records what was decided: nothing that has not been recorded is
// delivered. The error says why the container gets nothing.
func (b *Broker) settle(s *served, event audit.Event, items []item) error {
	refused := oneLine(problems(items))
	if err := b.record(s, event, items, refused != nil); err != nil {
		return err
	}
	return refused
}

// bundleOf is what the items make together, and the edition of each secret in it.
func bundleOf(items []item) (inject.Bundle, map[key]int) {
	bundle, editions := inject.Bundle{}, map[key]int{}
	for _, i := range items {
		for _, n := range i.needs {
			if n.held.edition > 0 { // of what is optional and not there, there is none
				editions[n.origin.key()] = n.held.edition
			}
		}
		switch {
		case i.skipped():
		case i.want.Kind == workload.File:
			bundle.Files = append(bundle.Files, i.files...)
		default:
			bundle.Variables = append(bundle.Variables, inject.Variable{Name: i.want.Name, Value: i.variable})
		}
	}
	return bundle, editions
}

// unjoin takes apart what errors.Join made.
func unjoin(err error) []error {
	if err == nil {
		return nil
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	return []error{err}
}
