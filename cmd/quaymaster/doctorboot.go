package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/quaymaster/quaymaster/broker/api"
	"github.com/quaymaster/quaymaster/broker/config"
)

// How long a booting host is given to become ready, and how often it is looked
// at meanwhile: each look is a login.
const (
	bootPatience = time.Minute
	bootInterval = 10 * time.Second
)

// diagnoseBoot is diagnose for a host that has just booted: what fails is
// looked at again until its time is over, and a configuration that is wrong is
// told at once.
func diagnoseBoot(ctx context.Context, file string, patience time.Duration) ([]finding, error) {
	ctx, cancel := context.WithTimeout(ctx, patience+2*checkPatience) // for the last look
	defer cancel()
	over := time.After(patience)
	awaitAgent(ctx, file, patience)
	for {
		findings, err := diagnose(ctx, file)
		_, isConfig := errors.AsType[config.Problems](err)
		if err == nil || isConfig {
			return findings, err
		}
		select {
		case <-over:
			return findings, err
		case <-ctx.Done():
			return findings, err
		case <-time.After(bootInterval):
		}
	}
}

// awaitAgent waits until the agent answers, or has had its time.
func awaitAgent(ctx context.Context, file string, patience time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	c, _, err := loadConfig(file)
	if err != nil {
		return
	}
	for {
		_, err := api.NewClient(agentSocket(c)).Containers(ctx)
		if err == nil || errors.Is(err, api.ErrNotRoot) {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Second):
		}
	}
}

// printBoot writes for the console of a machine, where lines of many programs
// stand: one line if the host is ready, else one for each thing that is not
// well. Each can be told from the others' by its beginning.
func printBoot(to io.Writer, findings []finding) error {
	failed := slices.ContainsFunc(findings, func(f finding) bool { return f.Status == statusFailed })
	if !failed {
		_, err := fmt.Fprintln(to, readyLine(findings))
		return err
	}
	for _, f := range findings {
		if f.Status == statusOK {
			continue
		}
		text := strings.Join(strings.Fields(f.Found), " ") // an example of a configuration has several lines
		if f.Remedy != "" {
			text = ended(text) + " What to do: " + f.Remedy
		}
		if _, err := fmt.Fprintf(to, "quaymaster: %s: %s: %s\n", f.Status, plain(f.Check), plain(text)); err != nil {
			return err
		}
	}
	return nil
}

// readyLine says who the host is and what it may read.
func readyLine(findings []finding) string {
	var said []string
	warnings := 0
	for _, f := range findings {
		if f.Check == "identity" || f.Check == "configuration" && f.Status == statusOK {
			said = append(said, f.Found)
		}
		if f.Status == statusWarning {
			warnings++
		}
	}
	slices.Reverse(said) // who it is first
	line := "quaymaster: this host is ready: " + strings.Join(said, "; ")
	if warnings > 0 {
		line += fmt.Sprintf(" (%d warnings: quaymaster doctor)", warnings)
	}
	return plain(line)
}
