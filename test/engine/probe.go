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

// probeFlags make a program that is complete without a libc or a loader.
var probeFlags = []string{
	"-std=c11", "-Wall", "-Wextra", "-Werror", "-O2",
	"-static", "-nostdlib", "-ffreestanding", "-fno-stack-protector", "-fno-pie", "-no-pie",
}

// Probe is the path of the probe, compiled if this source has not been yet.
func Probe(ctx context.Context) (string, error) {
	dir, err := cacheDir()
	if err != nil {
		return "", err
	}
	hash := sha256.New()
	fmt.Fprintln(hash, runtime.GOARCH, strings.Join(probeFlags, " "))
	hash.Write(probeSource)
	binary := filepath.Join(dir, fmt.Sprintf("probe-%x", hash.Sum(nil)[:8]))
	if _, err := os.Stat(binary); err == nil {
		return binary, nil
	}
	return binary, compileProbe(ctx, dir, binary)
}

// compileProbe compiles into a directory of its own and renames, so that two
// may do it at once.
func compileProbe(ctx context.Context, dir, binary string) error {
	gcc, err := find("gcc")
	if err != nil {
		return fmt.Errorf("compile the probe: %w", err)
	}
	work, err := os.MkdirTemp(dir, "probe-build-")
	if err != nil {
		return fmt.Errorf("compile the probe: %w", err)
	}
	defer os.RemoveAll(work)
	source, out := filepath.Join(work, "probe.c"), filepath.Join(work, "probe")
	if err := os.WriteFile(source, probeSource, 0o600); err != nil {
		return fmt.Errorf("compile the probe: %w", err)
	}
	cmd := exec.CommandContext(ctx, gcc, append(probeFlags, "-o", out, source)...)
	if said, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("compile the probe: %w:\n%s", err, said)
	}
	if err := os.Rename(out, binary); err != nil {
		return fmt.Errorf("keep the probe: %w", err)
	}
	return nil
}
