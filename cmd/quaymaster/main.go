// Command quaymaster is the agent of one Docker host and the commands around
// it.
//
// This package is the wiring: it alone knows which concrete provider, login,
// gate and engine stand behind the interfaces of the broker. Its commands keep
// one rule: stdout is the answer, stderr the talk. Exit codes: 0 done, 1
// failed, 2 wrong usage, 3 wrong configuration.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/quaymaster/quaymaster/broker/config"
)

// version is set at build time.
var version = "unknown"

// defaultConfig is where the configuration is when nobody says otherwise.
const defaultConfig = "/etc/quaymaster/quaymaster.yaml"

// The exit codes besides 0.
const (
	exitFailed = 1
	exitUsage  = 2
	exitConfig = 3
)

func main() {
	os.Exit(run(os.Args[0], os.Args[1:]))
}

func run(program string, args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := execute(ctx, program, args)
	if err != nil && !errors.Is(err, errAnswered) {
		fmt.Fprintf(os.Stderr, "quaymaster: %v\n", err)
	}
	return exitCode(err)
}

func execute(ctx context.Context, program string, args []string) (err error) {
	root := command()
	if isPlugin(program) {
		if len(args) == 1 && args[0] == pluginMetadata {
			return writeMetadata(os.Stdout)
		}
		if args, err = pluginArgs(args); err != nil {
			return err
		}
		root.Annotations = map[string]string{cobra.CommandDisplayNameAnnotation: "docker " + pluginCommand}
	}
	root.SetArgs(args)
	return root.ExecuteContext(ctx)
}

// errAnswered: what is wrong was the answer, and has been printed.
var errAnswered = errors.New("answered")

// usageError is a command line that makes no sense.
type usageError struct{ error }

func exitCode(err error) int {
	if err == nil {
		return 0
	}
	if _, isUsage := errors.AsType[usageError](err); isUsage {
		return exitUsage
	}
	if _, isConfig := errors.AsType[config.Problems](err); isConfig {
		return exitConfig
	}
	return exitFailed
}

func command() *cobra.Command {
	root := &cobra.Command{
		Use:           "quaymaster",
		Short:         "Gives every container exactly the secrets it was granted, before its first instruction, in memory only",
		Version:       version,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          noArgs,
		RunE:          help,
	}
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w; see %s --help", err, c.CommandPath())}
	})
	install := &cobra.Command{Use: "install", Short: "Put Quaymaster in Docker's way", Args: noArgs, RunE: help}
	install.AddCommand(installRuntimeCommand())
	root.AddCommand(agentCommand(), psCommand(), attachCommand(), configureCommand(), doctorCommand(), validateCommand(), install, manualCommand())
	return root
}

// help is what a command does that only has commands below it.
func help(c *cobra.Command, _ []string) error { return c.Help() }

// noArgs refuses what is not a command, as a usage error.
func noArgs(c *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError{fmt.Errorf("unknown argument %q; see %s --help", args[0], c.CommandPath())}
	}
	return nil
}
