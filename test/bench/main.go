// Command bench measures what Quaymaster costs on this machine.
//
// Every figure stands beside the one that it must be compared with: a
// container that passes the gate beside a plain one that was started in the
// same round, because a machine is never equally fast twice. Start latency is
// the time from the API call that starts a container to the container's first
// instruction, which the probe takes down on the same clock. Everything around
// it is real: a private engine, the two programs as they ship and install
// themselves, the agent as a process of its own. Only Vault is a stand-in,
// because no figure here depends on it: secrets are warm.
//
// Nothing is asserted: what is too slow is for people to say, with the
// budgets of docs/design.md beside them. What the containers saw is checked,
// so that a figure is never that of a start which went wrong.
//
// stdout is the table, stderr the progress; -json adds a file with all samples.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
)

// options are the command line.
type options struct {
	rounds, warmUp, containers int
	json                       string
}

func main() {
	var o options
	flag.IntVar(&o.rounds, "n", 60, "measure this many `rounds`")
	flag.IntVar(&o.warmUp, "warm-up", 3, "begin with this many `rounds` that do not count")
	flag.IntVar(&o.containers, "containers", 50, "measure memory and rotation with this many `containers` at once")
	flag.StringVar(&o.json, "json", "", "write the results to this `file` too")
	flag.Parse()
	if err := o.check(flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, o)
	if inner, ended := errors.AsType[*exec.ExitError](err); ended && !private() {
		os.Exit(inner.ExitCode()) // it has said why
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func (o options) check(rest []string) error {
	switch {
	case len(rest) > 0:
		return fmt.Errorf("unknown argument %q", rest[0])
	case o.rounds < 1 || o.containers < 1:
		return errors.New("-n and -containers must be 1 at least")
	case o.warmUp < 1:
		return errors.New("-warm-up must be 1 at least: the first start of all reads the secrets from Vault")
	}
	return nil
}

func run(ctx context.Context, o options) error {
	if !private() {
		return runPrivately(ctx)
	}
	if err := emptyRun(); err != nil {
		return err
	}
	results, err := measure(ctx, o)
	if err != nil {
		return err
	}
	if o.json != "" {
		if err := write(o.json, results); err != nil {
			return err
		}
	}
	return results.print(os.Stdout)
}

func write(file string, results Results) error {
	content, err := json.MarshalIndent(results, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the results: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return fmt.Errorf("write the results: %w", err)
	}
	if err := os.WriteFile(file, append(content, '\n'), 0o644); err != nil {
		return fmt.Errorf("write the results: %w", err)
	}
	return nil
}

// say tells whoever waits what is being done.
func say(format string, args ...any) { fmt.Fprintf(os.Stderr, "bench: "+format+"\n", args...) }
