package docker

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/quaymaster/quaymaster/inject"
)

// standardDataRoot is the engine's data root where nobody says another.
const standardDataRoot = "/var/lib/docker"

// infoPatience bounds a question that no start waits for.
const infoPatience = 10 * time.Second

// about is what the engine says of itself.
type about struct {
	Host     string `json:"host"` // at which it said this
	DataRoot string `json:"data_root"`
	Remapped bool   `json:"remapped"` // it gives containers a user namespace
}

// inquire asks the engine where its files are. What else was known of it before
// it came up is asked for anew.
func (e *Engine) inquire(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, infoPatience)
	defer cancel()
	info, err := e.api.Info(ctx)
	if err != nil {
		return fmt.Errorf("ask the engine for its data root: %w", err)
	}
	now := about{
		Host: e.options.Host, DataRoot: info.DockerRootDir,
		Remapped: slices.ContainsFunc(info.SecurityOptions, func(o string) bool { return strings.HasPrefix(o, "name=userns") }),
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.unkept = e.unkept || now != e.about
	e.about = now
	clear(e.nodes)
	return nil
}

// place is where the engine keeps its files, and as whom.
type place struct {
	root string
	// remap is the host's user and group that are root in containers; nil:
	// containers share the host's user namespace.
	remap *inject.Owner
}

func (p place) engineDir(id string) string { return filepath.Join(p.root, "containers", id) }

// place puts together what was configured and what the engine said, now or to
// an earlier agent.
func (e *Engine) place() place {
	e.mu.Lock()
	said := e.about
	e.mu.Unlock()
	p := place{root: cmp.Or(e.options.DataRoot, said.DataRoot, standardDataRoot)}
	if said.DataRoot == "" {
		return p.search()
	}
	if suffix := filepath.Base(said.DataRoot); said.Remapped {
		if p.remap = remapOf(suffix); p.remap != nil && filepath.Base(p.root) != suffix {
			p.root = filepath.Join(p.root, suffix)
		}
	}
	return p
}

// search finds the engine's directory where the engine never said anything. It
// has a directory of its own below the data root for each remap, of the form
// 231072.231072.
func (p place) search() place {
	if _, err := os.Stat(filepath.Join(p.root, "containers")); errors.Is(err, os.ErrNotExist) {
		found, _ := filepath.Glob(filepath.Join(p.root, "*.*", "containers"))
		for _, containers := range found {
			if dir := filepath.Dir(containers); remapOf(filepath.Base(dir)) != nil {
				p.root = dir
			}
		}
	}
	p.remap = remapOf(filepath.Base(p.root))
	return p
}

// remapOf reads the name of a remapped engine's directory: <uid>.<gid> of who
// is root in its containers (moby daemon/daemon_unix.go, setupDaemonRoot).
func remapOf(name string) *inject.Owner {
	user, group, _ := strings.Cut(name, ".")
	uid, err := strconv.ParseUint(user, 10, 32)
	if err != nil {
		return nil
	}
	gid, err := strconv.ParseUint(group, 10, 32)
	if err != nil {
		return nil
	}
	return &inject.Owner{UID: uint32(uid), GID: uint32(gid)}
}

// standardRange is how many IDs a user namespace has where it cannot be found
// out: what useradd gives.
const standardRange = 65536

// idMap is the mapping that the engine makes of the ranges in a subordinate ID
// file (subuid(5)) whose first begins at root: one after the other, by their
// begin (moby sys/user, and daemon/daemon_unix.go).
func idMap(file string, root uint32) []inject.IDMap {
	for _, ranges := range subordinate(file) {
		slices.SortFunc(ranges, func(a, b inject.IDMap) int { return cmp.Compare(a.Host, b.Host) })
		if ranges[0].Host != root {
			continue
		}
		next := uint32(0)
		for i := range ranges {
			ranges[i].Container = next
			next += ranges[i].Size
		}
		return ranges
	}
	return []inject.IDMap{{Container: 0, Host: root, Size: standardRange}}
}

// subordinate reads the ranges of each user. What cannot be read is left out.
func subordinate(file string) map[string][]inject.IDMap {
	users := map[string][]inject.IDMap{}
	content, err := os.Open(file)
	if err != nil {
		return users
	}
	defer content.Close()
	for lines := bufio.NewScanner(content); lines.Scan(); {
		fields := strings.Split(lines.Text(), ":")
		if len(fields) != 3 {
			continue
		}
		begin, beginErr := strconv.ParseUint(fields[1], 10, 32)
		size, sizeErr := strconv.ParseUint(fields[2], 10, 32)
		if beginErr == nil && sizeErr == nil {
			users[fields[0]] = append(users[fields[0]], inject.IDMap{Host: uint32(begin), Size: uint32(size)})
		}
	}
	return users
}
