package attach

import (
	"fmt"
	"strconv"
	"strings"
)

// mount is one line of a mountinfo (proc_pid_mountinfo(5)).
type mount struct {
	id     uint64
	device string // major:minor
	point  string
	peers  string // the peer group that it shares its mounts with; empty: none
	kind   string // of its filesystem
	source string
}

// String names the mount for people. A container may have chosen its source.
func (m mount) String() string { return fmt.Sprintf("%s %q at %q", m.kind, m.source, m.point) }

func (m mount) inMemory() bool { return m.kind == "tmpfs" || m.kind == "ramfs" }

// plain undoes how a mountinfo writes the characters that part its fields.
var plain = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)

// parseMounts passes over lines that it cannot read.
func parseMounts(mountinfo string) []mount {
	var mounts []mount
	for line := range strings.Lines(mountinfo) {
		before, after, found := strings.Cut(line, " - ")
		left, right := strings.Fields(before), strings.Fields(after)
		if !found || len(left) < 6 || len(right) < 2 {
			continue
		}
		id, err := strconv.ParseUint(left[0], 10, 64)
		if err != nil {
			continue
		}
		m := mount{id: id, device: left[2], point: plain.Replace(left[4]), kind: right[0], source: plain.Replace(right[1])}
		for _, option := range left[6:] {
			if group, shared := strings.CutPrefix(option, "shared:"); shared {
				m.peers = group
			}
		}
		mounts = append(mounts, m)
	}
	return mounts
}

// list is the mounts of the process's namespace as they are now.
func (p *process) list() ([]mount, error) {
	text, err := readAll(p.mounts)
	if err != nil {
		return nil, fmt.Errorf("read the container's mounts: %w", err)
	}
	return parseMounts(text), nil
}

// mountOf finds a mount of the process's namespace by its ID.
func (p *process) mountOf(id uint64) (mount, error) {
	mounts, err := p.list()
	if err != nil {
		return mount{}, err
	}
	for _, m := range mounts {
		if m.id == id {
			return m, nil
		}
	}
	return mount{}, fmt.Errorf("%w: what was mounted on the way there has gone, or was mounted over: %s", ErrHostile, advice)
}

// onHost reports whether the host has a mount of which same is true.
func (p *process) onHost(same func(mount) bool) (bool, error) {
	for _, fd := range p.hostMounts {
		text, err := readAll(fd)
		if err != nil {
			return false, fmt.Errorf("read the host's mounts: %w", err)
		}
		for _, m := range parseMounts(text) {
			if same(m) {
				return true, nil
			}
		}
	}
	return false, nil
}
