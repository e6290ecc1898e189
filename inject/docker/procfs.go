package docker

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/quaymaster/quaymaster/inject"
)

// readProcess reads what proc(5) says of a container's first process. All is
// read through one open directory, so all is of one process.
func readProcess(pid int, id string) (inject.Arrival, error) {
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	root, err := os.OpenRoot(dir)
	if err != nil {
		return inject.Arrival{}, fmt.Errorf("process %d is not there: does the agent share the engine's PID namespace? %w", pid, err)
	}
	defer root.Close()
	p := process{root: root}
	a := inject.Arrival{Container: id, PID: pid, FilesOnly: true, Mounts: p.mounts()}
	if !p.belongsTo(id) {
		return inject.Arrival{}, errors.Join(p.err,
			fmt.Errorf("process %d is not the container's: does the agent share the engine's PID namespace?", pid))
	}
	own, err := os.Readlink("/proc/self/ns/user")
	if err != nil {
		return inject.Arrival{}, fmt.Errorf("read the agent's own user namespace: %w", err)
	}
	if namespace := p.link("ns/user"); namespace != own {
		a.UIDMap, a.GIDMap = p.idMap("uid_map"), p.idMap("gid_map")
	}
	a.User = p.user(a.UIDMap, a.GIDMap)
	return a, p.err
}

// process reads a directory of /proc and keeps the first error.
type process struct {
	root *os.Root
	err  error
}

func (p *process) fail(file string, err error) {
	if p.err == nil && err != nil {
		p.err = fmt.Errorf("read %s of the process: %w", file, err)
	}
}

func (p *process) read(file string) string {
	content, err := p.root.ReadFile(file)
	p.fail(file, err)
	return string(content)
}

func (p *process) link(file string) string {
	target, err := p.root.Readlink(file)
	p.fail(file, err)
	return target
}

// belongsTo reports whether the process is one of the container's, by its
// control group, or by the files of the engine that are mounted into it.
func (p *process) belongsTo(id string) bool {
	return strings.Contains(p.read("cgroup"), id) || strings.Contains(p.read("mountinfo"), "/"+id+"/")
}

// mounts are the mount points as the process sees them (proc_pid_mountinfo(5)).
func (p *process) mounts() (points []string) {
	for line := range strings.Lines(p.read("mountinfo")) {
		if fields := strings.Fields(line); len(fields) > 4 {
			points = append(points, unescape(fields[4]))
		}
	}
	return points
}

// unescape turns back what the kernel writes for space, tab, newline and
// backslash: \040 and so on.
func unescape(path string) string {
	var plain strings.Builder
	for i := 0; i < len(path); i++ {
		if path[i] == '\\' && i+3 < len(path) {
			if code, err := strconv.ParseUint(path[i+1:i+4], 8, 8); err == nil {
				plain.WriteByte(byte(code))
				i += 3
				continue
			}
		}
		plain.WriteByte(path[i])
	}
	return plain.String()
}

// idMap reads a mapping of a user namespace (user_namespaces(7)). The kernel
// numbers its second column as the reader sees users, which here is as the
// host does.
func (p *process) idMap(file string) (maps []inject.IDMap) {
	for line := range strings.Lines(p.read(file)) {
		var m inject.IDMap
		if _, err := fmt.Sscan(line, &m.Container, &m.Host, &m.Size); err != nil {
			p.fail(file, err)
		}
		maps = append(maps, m)
	}
	return maps
}

// user is the effective user and group, as the container numbers them. proc(5)
// numbers them as the host does.
func (p *process) user(uidMap, gidMap []inject.IDMap) *inject.Owner {
	var uid, gid uint32
	for line := range strings.Lines(p.read("status")) {
		if fields := strings.Fields(line); len(fields) > 2 {
			switch fields[0] {
			case "Uid:":
				uid = p.inside("Uid", fields[2], uidMap)
			case "Gid:":
				gid = p.inside("Gid", fields[2], gidMap)
			}
		}
	}
	return &inject.Owner{UID: uid, GID: gid}
}

// inside turns one of the host's IDs into the container's.
func (p *process) inside(what, id string, maps []inject.IDMap) uint32 {
	number, err := strconv.ParseUint(id, 10, 32)
	if err != nil {
		p.fail("status", err)
	}
	host := uint32(number)
	if len(maps) == 0 {
		return host
	}
	for _, m := range maps {
		if host >= m.Host && host-m.Host < m.Size {
			return m.Container + host - m.Host
		}
	}
	p.fail("status", fmt.Errorf("%s %d is not in its user namespace", what, host))
	return 0
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().Type() == fs.ModeDir
}
