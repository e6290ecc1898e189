//go:build integration

package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/container"

	"github.com/quaymaster/quaymaster/inject"
	"github.com/quaymaster/quaymaster/test/engine"
)

// always passes the runtime gate, again and again.
func always() *container.HostConfig {
	hostConfig := gated()
	hostConfig.RestartPolicy = container.RestartPolicy{Name: container.RestartPolicyAlways}
	return hostConfig
}

// failsFor launches a container that fails to start, and says why in these words.
func failsFor(t *testing.T, reason string, config *container.Config, hostConfig *container.HostConfig) (id string) {
	t.Helper()
	id, err := h.Engine.Launch(soon(t), config, hostConfig)
	if id != "" {
		t.Cleanup(func() { remove(t, h, id) })
	}
	if err == nil || !strings.Contains(err.Error(), reason) {
		t.Fatalf("%v, want %q", err, reason)
	}
	return id
}

// TestStartThatFailedWithoutAnAgent: a container that did not start because no
// agent was there is started by the one that comes, with its secrets and with
// the port that it publishes.
func TestStartThatFailedWithoutAnAgent(t *testing.T) {
	if err := h.StopAgent(t.Context()); err != nil {
		t.Fatal(err)
	}
	const port = "8081"
	server, hostConfig := &container.Config{Image: engine.BusyboxImage, Labels: three(), StopSignal: "SIGKILL",
		Cmd: []string{"httpd", "-f", "-p", "80", "-h", "/run/secrets"}}, always()
	publish(t, port, server, hostConfig)
	id := failsFor(t, inject.NoAgent, server, hostConfig)
	if err := h.StartAgent(soon(t)); err != nil {
		t.Fatal(err)
	}
	await(t, h, "the server", func() bool { return running(t, id) })
	await(t, h, "an answer at the published port", func() bool {
		content, err := fetch(t, port, "/password")
		if err == nil && content != password {
			t.Fatal("it serves something else than its secret")
		}
		return err == nil
	})
}

// publish has a container's port 80 reached at a port of the engine's network.
func publish(t *testing.T, port string, config *container.Config, hostConfig *container.HostConfig) {
	t.Helper()
	for text, into := range map[string]any{ // as the API says it
		`{"80/tcp": {}}`: &config.ExposedPorts,
		`{"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "` + port + `"}]}`: &hostConfig.PortBindings,
	} {
		if err := json.Unmarshal([]byte(text), into); err != nil {
			t.Fatal(err)
		}
	}
}

// fetch reads a file from what is published at a port of the engine's network.
func fetch(t *testing.T, port, name string) (string, error) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		return h.Engine.Dial(ctx, network, address)
	}}}
	request, err := http.NewRequestWithContext(soon(t), http.MethodGet, "http://127.0.0.1:"+port+name, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	content, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %s", answer.Status)
	}
	return string(content), err
}

// TestStartThatFailedWithoutAStore: what is to run always runs when its store is
// back. What was refused is left alone, and so is what has no restart policy:
// who started it was told.
func TestStartThatFailedWithoutAStore(t *testing.T) {
	const unavailable = "secret store unavailable"
	store := frontOfVault(t)
	reconfigure(t, h, store.Settings+"refresh: 1s\ngate_timeout: 2s\n"+grants)
	store.Faults.Set("", unreachable)
	denied := failsFor(t, "denied by policy", probe("hold", labels("quaymaster.secret.password", "vault:kv/other/db#password")), always())
	once := failsFor(t, unavailable, probe("hold", three()), gated())
	id := failsFor(t, unavailable, probe("hold", three()), always())
	store.Faults.Clear("")
	reports, err := awaitReports(soon(t), h, id, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := checkThree(reports[0]); err != nil {
		t.Error(err)
	}
	// All three were looked at each time, so by now the others would have been tried.
	for _, left := range []string{denied, once} {
		if running(t, left) || strings.Count(h.Log(), `msg="start refused" container=`+nameOf(t, left)) != 1 {
			t.Errorf("container %s was started again", nameOf(t, left))
		}
	}
}

// TestFailedStartsAreLeftAlone: with start_failed: false nothing is started that
// failed, as the next agent shows, which may.
func TestFailedStartsAreLeftAlone(t *testing.T) {
	reconfigure(t, h, "start_failed: false\n"+plain)
	if err := h.StopAgent(t.Context()); err != nil {
		t.Fatal(err)
	}
	id := failsFor(t, inject.NoAgent, probe("hold", three()), always())
	if err := h.StartAgent(soon(t)); err != nil {
		t.Fatal(err)
	}
	letAgentWork(t)
	if running(t, id) {
		t.Error("it was started")
	}
	reconfigure(t, h, plain)
	if _, err := awaitReports(soon(t), h, id, 1); err != nil {
		t.Error(err)
	}
}

// letAgentWork waits while the agent does three of its rounds, each begun by the
// one before it: a secret is changed when its last change has arrived.
func letAgentWork(t *testing.T) {
	t.Helper()
	put := func(n int) {
		if err := h.Vault.PutSecret(soon(t), "kv", "shop/round", map[string]any{"v": fmt.Sprint(t.Name(), n)}); err != nil {
			t.Fatal(err)
		}
	}
	put(0)
	id, err := h.Engine.Launch(soon(t), probe("watch", labels("quaymaster.secret.v", "vault:kv/shop/round")), gated())
	if err != nil {
		t.Fatal(err)
	}
	defer remove(t, h, id)
	for n := 1; n <= 3; n++ {
		put(n)
		if _, err := awaitReports(soon(t), h, id, n+1); err != nil {
			t.Fatal(err)
		}
	}
}
