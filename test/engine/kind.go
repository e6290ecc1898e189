package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Kind says whose programs an Engine is made of.
type Kind int

const (
	// Chosen is the one that $QUAYMASTER_ENGINE_KIND names; without it, Debian.
	// So every suite can be run on either.
	Chosen Kind = iota
	// Debian is the engine that the machine has installed: docker.io.
	Debian
	// Newest is the one that test/engines builds from its modules.
	Newest
)

// Kinds are all kinds of engines that promises are made for.
var Kinds = []Kind{Debian, Newest}

// Built are the kinds that this run has: Debian's, and the newest where
// $QUAYMASTER_ENGINE says where it was built.
func Built() []Kind {
	if os.Getenv("QUAYMASTER_ENGINE") == "" {
		return []Kind{Debian}
	}
	return Kinds
}

// String is the kind's name in tables and test names.
func (k Kind) String() string {
	switch k {
	case Chosen:
		return "chosen"
	case Debian:
		return "debian"
	case Newest:
		return "newest"
	}
	return fmt.Sprintf("kind %d", int(k))
}

// settle is the kind that k stands for.
func (k Kind) settle() (Kind, error) {
	if k != Chosen {
		return k, nil
	}
	name := os.Getenv("QUAYMASTER_ENGINE_KIND")
	if name == "" {
		return Debian, nil
	}
	for _, kind := range Kinds {
		if kind.String() == name {
			return kind, nil
		}
	}
	return k, fmt.Errorf("QUAYMASTER_ENGINE_KIND is %q: there are %v", name, Kinds)
}

// buildScript finds what it has built, relative to the root of the tree.
const buildScript = "test/engines/build.sh"

// installation is where the programs of an Engine are.
type installation struct {
	// path is the daemons' PATH, on which they find each other, the runtime
	// and the proxy.
	path string
}

// install finds the programs of a kind, and makes sure that they are there.
func install(ctx context.Context, k Kind) (installation, error) {
	var programs installation
	switch k {
	case Debian:
		programs.path = searchPath
	case Newest:
		dir, err := newest(ctx)
		if err != nil {
			return installation{}, err
		}
		programs.path = filepath.Join(dir, "bin") + ":" + searchPath
	default:
		return installation{}, fmt.Errorf("there are no programs of %v", k)
	}
	for _, program := range []string{"containerd", "dockerd", "runc", "iptables"} {
		if _, err := programs.find(program); err != nil {
			return installation{}, err
		}
	}
	return programs, nil
}

// newest is the directory that test/engines/build.sh has built:
// $QUAYMASTER_ENGINE if it is set. It builds nothing; without the variable the
// working directory must be inside the tree.
func newest(ctx context.Context) (string, error) {
	if dir := os.Getenv("QUAYMASTER_ENGINE"); dir != "" {
		return dir, nil
	}
	script, err := findUp(buildScript)
	if err != nil {
		return "", fmt.Errorf("find the newest engine: %w; run inside the source tree or set QUAYMASTER_ENGINE", err)
	}
	out, err := exec.CommandContext(ctx, script, "--find").Output()
	if err != nil {
		return "", fmt.Errorf("the newest engine is not built: run `make engines` (%w)", err)
	}
	return strings.TrimSpace(string(out)), nil
}

// findUp finds a file by its path relative to the working directory or to one
// of the directories above it.
func findUp(path string) (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		candidate := filepath.Join(dir, path)
		if _, err := os.Stat(candidate); err == nil {
			return candidate, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("no %s above the working directory", path)
		}
		dir = filepath.Dir(dir)
	}
}

// find is the path of one of the engine's programs.
func (i installation) find(program string) (string, error) {
	for _, dir := range filepath.SplitList(i.path) {
		path, err := exec.LookPath(filepath.Join(dir, program))
		if err == nil {
			return path, nil
		}
		if !errors.Is(err, os.ErrNotExist) {
			return "", err
		}
	}
	return "", fmt.Errorf("%s: %w", program, ErrMissing)
}
