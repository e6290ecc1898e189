package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/quaymaster/quaymaster/broker/api"
	"github.com/quaymaster/quaymaster/broker/config"
)

func attachCommand() *cobra.Command {
	var file string
	c := &cobra.Command{
		Use:   "attach CONTAINER...",
		Short: "Give running containers their files, without a restart",
		Long: "Give running containers their files, without a restart.\n\n" +
			"A container is named as docker names it. Its process began without its secrets, so it is shown as late until it\n" +
			"is restarted, which also gives it its variables.",
		Args: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usageError{fmt.Errorf("no container is named; see %s --help", c.CommandPath())}
			}
			return nil
		},
		RunE: func(c *cobra.Command, names []string) error {
			loaded, _, err := config.Load(file)
			if err != nil {
				return err
			}
			return attachAll(c.Context(), loaded, names)
		},
	}
	c.Flags().StringVar(&file, "config", defaultConfig, "configuration `file` of the agent")
	return c
}

// attachAll asks for one container after the other. One that fails keeps no other
// from its files; an agent that does not answer is asked no more.
func attachAll(ctx context.Context, c config.Config, names []string) error {
	client := api.NewClient(agentSocket(c))
	failed := 0
	for _, name := range names {
		container, err := attachOne(ctx, client, c, name)
		switch {
		case errors.Is(err, api.ErrNoAgent), errors.Is(err, api.ErrNotRoot), ctx.Err() != nil:
			return err
		case err != nil:
			fmt.Fprintf(os.Stderr, "quaymaster: attach %s: %s\n", plain(name), plain(err.Error()))
			failed++
		default:
			fmt.Println(plain(attached(container)))
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d containers did not get their files", failed, len(names))
	}
	return nil
}

// attachOne waits as long as a gate would, and for the answer.
func attachOne(ctx context.Context, client *api.Client, c config.Config, name string) (api.Container, error) {
	ctx, cancel := context.WithTimeout(ctx, c.GateTimeout+askTimeout)
	defer cancel()
	return client.Attach(ctx, name)
}

// attached says what a container got.
func attached(c api.Container) string {
	if len(c.Files) == 0 {
		return fmt.Sprintf("%s (%s): no file is granted to it", c.Name, shortID(c.ID))
	}
	text := fmt.Sprintf("%s (%s): %s", c.Name, shortID(c.ID), strings.Join(c.Files, ", "))
	if len(c.Variables) > 0 {
		text += fmt.Sprintf("; not %s: a process gets variables when it starts, so restart it", strings.Join(c.Variables, ", "))
	}
	return text
}
