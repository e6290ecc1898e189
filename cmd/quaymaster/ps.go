package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/quaymaster/quaymaster/broker/api"
	"github.com/quaymaster/quaymaster/broker/config"
)

// askTimeout is how long an agent may take to tell what it knows.
const askTimeout = 10 * time.Second

func psCommand() *cobra.Command {
	var file string
	var asJSON bool
	c := &cobra.Command{
		Use:   "ps",
		Short: "List the containers that the agent serves, and how each one is",
		Args:  noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			loaded, _, err := config.Load(file)
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(c.Context(), askTimeout)
			defer cancel()
			containers, err := api.NewClient(agentSocket(loaded)).Containers(ctx)
			if err != nil {
				return err
			}
			slices.SortFunc(containers, byName)
			if asJSON {
				return printJSON(os.Stdout, containers)
			}
			return printTable(os.Stdout, containers, time.Now())
		},
	}
	c.Flags().StringVar(&file, "config", defaultConfig, "configuration `file` of the agent")
	c.Flags().BoolVar(&asJSON, "json", false, "print the answer as JSON")
	return c
}

// agentSocket is where the agent answers commands.
func agentSocket(c config.Config) string { return filepath.Join(c.Paths.Run, "agent.sock") }

func byName(a, b api.Container) int {
	return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID))
}

// listing is the answer of ps --json.
type listing struct {
	Containers []api.Container `json:"containers"`
}

func printJSON(to io.Writer, containers []api.Container) error {
	encoder := json.NewEncoder(to)
	encoder.SetIndent("", "  ")
	return encoder.Encode(listing{Containers: containers})
}

func printTable(to io.Writer, containers []api.Container, now time.Time) error {
	table := tabwriter.NewWriter(to, 0, 0, 3, ' ', 0)
	fmt.Fprintln(table, "CONTAINER\tNAME\tIMAGE\tGATE\tFOR\tFILES\tVARIABLES\tON ROTATE\tSTATE")
	for _, c := range containers {
		row := []string{
			shortID(c.ID), c.Name, c.Image, cmp.Or(c.Gate, "-"), age(now, c.Since),
			strconv.Itoa(len(c.Files)), strconv.Itoa(len(c.Variables)), cmp.Or(c.Strategy, "-"), state(c),
		}
		for i, cell := range row {
			row[i] = plain(cell)
		}
		fmt.Fprintln(table, strings.Join(row, "\t"))
	}
	return table.Flush()
}

// state says how a container is, the worst first.
func state(c api.Container) string {
	var words []string
	if c.Ungated {
		words = append(words, "WITHOUT its secrets")
	}
	if c.Failing != "" {
		words = append(words, "failing: "+c.Failing)
	}
	if c.Stale {
		words = append(words, "stale")
	}
	if c.Owed {
		words = append(words, "has new secrets, is still to be told")
	}
	if c.Late {
		words = append(words, "late")
	}
	return cmp.Or(strings.Join(words, "; "), "ok")
}

// shortID is an ID as Docker shows it.
func shortID(id string) string { return id[:min(len(id), 12)] }

// age is how long something is so, in one unit.
func age(now, since time.Time) string {
	d := max(now.Sub(since), 0)
	switch {
	case since.IsZero():
		return "-"
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	default:
		return fmt.Sprintf("%dd", int(d.Hours())/24)
	}
}

// plain keeps what others have named from moving the cursor, or into another
// column.
func plain(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, text)
}
