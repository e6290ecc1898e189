package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/quaymaster/quaymaster/broker/api"
)

// answering is an agent that has nothing but its answers: a container of the
// list can be attached unless it is failing.
type answering []api.Container

func (a answering) Containers(context.Context) ([]api.Container, error) { return a, nil }

func (a answering) Attach(_ context.Context, container string) (api.Container, error) {
	for _, c := range a {
		if c.Name != container && !strings.HasPrefix(c.ID, container) {
			continue
		}
		if c.Failing != "" {
			return api.Container{}, fmt.Errorf("container %q: %s", c.Name, c.Failing)
		}
		return c, nil
	}
	return api.Container{}, fmt.Errorf("container %q: %w", container, api.ErrUnknown)
}

// answerScript is the command "answer FILE" of scripts: an agent that runs in
// the directory "run" answers with the containers of FILE.
func answerScript(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: answer FILE")
	}
	var said listing
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &said))
	server := api.NewServer(api.Options{
		Socket: filepath.Join(ts.MkAbs("run"), "agent.sock"), Agent: answering(said.Containers), Timeout: time.Minute, Log: slog.New(slog.DiscardHandler),
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx) }()
	ts.Defer(func() {
		cancel()
		ts.Check(<-done)
	})
	client := api.NewClient(server.Socket)
	for {
		if _, err := client.Containers(ctx); !errors.Is(err, api.ErrNoAgent) {
			ts.Check(err)
			return
		}
	}
}

// configureScript is the command "configure" of scripts: it writes the
// configuration quaymaster.yaml of an agent that runs in the directory "run".
func configureScript(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: configure")
	}
	text := fmt.Sprintf("vault: {address: https://vault.internal:8200, role: docker-host}\npaths: {run: %q}\n"+
		"grants: [{name: db, workloads: {compose.service: db}, secrets: [\"vault:kv/shop/db\"]}]\n", ts.MkAbs("run"))
	ts.Check(os.WriteFile(ts.MkAbs("quaymaster.yaml"), []byte(text), 0o600))
}

func TestAge(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for ago, want := range map[time.Duration]string{
		-time.Second: "0s", 59 * time.Second: "59s", time.Minute: "1m", 59*time.Minute + 59*time.Second: "59m",
		time.Hour: "1h", 47 * time.Hour: "47h", 48 * time.Hour: "2d", 400 * 24 * time.Hour: "400d",
	} {
		if got := age(now, now.Add(-ago)); got != want {
			t.Errorf("%v ago: %s, want %s", ago, got, want)
		}
	}
	if got := age(now, time.Time{}); got != "-" {
		t.Errorf("never: %s", got)
	}
}
