package engine

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

//go:embed probe/probe.c
var probeSource []byte

//go:embed reader/reader.c
var readerSource []byte

//go:embed swapper/swapper.c
var swapperSource []byte

// program is a static C program that tests run in containers.
type program struct {
	name   string
	source []byte
	flags  []string
}

// The flags of the probe make a program that is complete without a libc or a
// loader.
var (
	probeProgram   = program{"probe", probeSource, []string{"-nostdlib", "-ffreestanding", "-fno-stack-protector", "-fno-pie", "-no-pie"}}
	readerProgram  = program{"reader", readerSource, nil}
	swapperProgram = program{"swapper", swapperSource, nil}
)

// allFlags are those of every program.
var allFlags = []string{"-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O2", "-static"}

// Probe is the path of the probe, compiled if this source has not been yet.
func Probe(ctx context.Context) (string, error) { return probeProgram.path(ctx) }

// Reader is the path of the reader (reader/reader.c), which looks for torn
// reads. Compiling it needs the headers of the C library.
func Reader(ctx context.Context) (string, error) { return readerProgram.path(ctx) }

// Swapper is the path of the swapper (swapper/swapper.c), which exchanges two
// paths over and over. Compiling it needs the headers of the C library.
func Swapper(ctx context.Context) (string, error) { return swapperProgram.path(ctx) }

func (p program) path(ctx context.Context) (string, error) {
	dir, err := cacheDir()
	if err != nil {
		return "", err
	}
	flags := append(append([]string{}, allFlags...), p.flags...)
	hash := sha256.New()
	fmt.Fprintln(hash, runtime.GOARCH, strings.Join(flags, " "))
	hash.Write(p.source)
	binary := filepath.Join(dir, fmt.Sprintf("%s-%x", p.name, hash.Sum(nil)[:8]))
	if _, err := os.Stat(binary); err == nil {
		return binary, nil
	}
	return binary, p.compile(ctx, flags, dir, binary)
}

// compile compiles into a directory of its own and renames, so that two may
// do it at once.
func (p program) compile(ctx context.Context, flags []string, dir, binary string) error {
	gcc, err := find("gcc")
	if err != nil {
		return fmt.Errorf("compile the %s: %w", p.name, err)
	}
	work, err := os.MkdirTemp(dir, p.name+"-build-")
	if err != nil {
		return fmt.Errorf("compile the %s: %w", p.name, err)
	}
	defer os.RemoveAll(work)
	source, out := filepath.Join(work, p.name+".c"), filepath.Join(work, p.name)
	if err := os.WriteFile(source, p.source, 0o600); err != nil {
		return fmt.Errorf("compile the %s: %w", p.name, err)
	}
	cmd := exec.CommandContext(ctx, gcc, append(flags, "-o", out, source)...)
	if said, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("compile the %s: %w:\n%s", p.name, err, said)
	}
	if err := os.Rename(out, binary); err != nil {
		return fmt.Errorf("keep the %s: %w", p.name, err)
	}
	return nil
}
