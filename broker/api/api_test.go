package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// scripted is an Agent whose answers the test has written.
type scripted struct {
	containers []Container
	attach     func(ctx context.Context, container string) (Container, error)
}

func (s scripted) Containers(context.Context) ([]Container, error) { return s.containers, nil }

func (s scripted) Attach(ctx context.Context, container string) (Container, error) {
	return s.attach(ctx, container)
}

// serve runs a Server until the test ends, or end is called, and returns its
// socket and what it logs.
func serve(t *testing.T, agent Agent, timeout time.Duration) (path string, log *journal, end func()) {
	t.Helper()
	path, log = filepath.Join(t.TempDir(), "run", "agent.sock"), new(journal)
	server := NewServer(Options{Socket: path, Agent: agent, Timeout: timeout, Log: slog.New(slog.NewTextHandler(log, nil))})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx) }()
	end = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(end)
	for {
		conn, err := net.Dial("unix", path)
		if err == nil {
			conn.Close()
			return path, log, end
		}
		select {
		case err := <-done:
			t.Fatalf("Run: %v", err)
		case <-time.After(time.Millisecond):
		}
	}
}

// journal is a log that several goroutines write.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

var web = Container{
	ID: strings.Repeat("4f1c", 16), Name: "shop-web-1", Image: "shop/web:7", Gate: "late", Since: time.Date(2026, 3, 1, 9, 30, 0, 0, time.UTC),
	Files: []string{"db", "tls/tls.crt"}, Variables: []string{}, Strategy: "signal:HUP", Owed: true, Late: true, Stale: true, Failing: "denied",
}

func TestAnswersComeThroughWhole(t *testing.T) {
	var asked string
	path, _, _ := serve(t, scripted{
		containers: []Container{web, {ID: "b", Ungated: true}},
		attach: func(_ context.Context, container string) (Container, error) {
			asked = container
			return web, nil
		},
	}, time.Minute)
	client := NewClient(path)
	got, err := client.Containers(t.Context())
	// Lists are never null, which a program would have to know of.
	want := []Container{web, {ID: "b", Ungated: true, Files: []string{}, Variables: []string{}}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("containers: %v\n%+v\nwant\n%+v", err, got, want)
	}
	one, err := client.Attach(t.Context(), "shop-web-1")
	if err != nil || !reflect.DeepEqual(one, web) || asked != "shop-web-1" {
		t.Errorf("attach %q: %v, %+v", asked, err, one)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func TestErrorsComeThroughInTheAgentsWords(t *testing.T) {
	path, log, _ := serve(t, scripted{attach: func(_ context.Context, container string) (Container, error) {
		switch container {
		case "nobody":
			return Container{}, fmt.Errorf("container %q: %w", container, ErrUnknown)
		case "bug":
			panic("the value of a secret")
		}
		return Container{}, errors.New(`container "web": require_gate is set: restart it instead`)
	}}, time.Minute)
	client := NewClient(path)
	_, err := client.Attach(t.Context(), "nobody")
	if !errors.Is(err, ErrUnknown) || err.Error() != `container "nobody": no such container` {
		t.Errorf("unknown: %v", err)
	}
	_, err = client.Attach(t.Context(), "web")
	if err == nil || errors.Is(err, ErrUnknown) || err.Error() != `container "web": require_gate is set: restart it instead` {
		t.Errorf("refused: %v", err)
	}
	_, err = client.Attach(t.Context(), "bug")
	if err == nil || !strings.Contains(err.Error(), "failed inside") {
		t.Errorf("panic: %v", err)
	}
	if text := log.String() + err.Error(); strings.Contains(text, "the value of a secret") || !strings.Contains(text, "panicked") {
		t.Errorf("what a panic carried is not to be told, that it was is: %s", text)
	}
}

func TestRequestsAreReadStrictly(t *testing.T) {
	path, _, _ := serve(t, scripted{attach: func(context.Context, string) (Container, error) {
		t.Error("the agent was asked")
		return Container{}, nil
	}}, time.Minute)
	client := NewClient(path).http
	for _, bad := range []struct{ method, path, body, says string }{
		{"POST", pathAttach, ``, "EOF"},
		{"POST", pathAttach, `{}`, "container is missing"},
		{"POST", pathAttach, `{"container":"a","force":true}`, "force"},
		{"POST", pathAttach, `{"container":"a"}{}`, "something follows"},
		{"POST", pathAttach, `{"container":["a"]}`, "array"},
		{"POST", pathAttach, `{"container":"` + strings.Repeat("a", maxRequest) + `"}`, "too large"},
		{"GET", pathAttach, ``, "different versions"},
		{"POST", pathContainers, ``, "different versions"},
		{"GET", "/v2/containers", ``, "different versions"},
	} {
		request, err := http.NewRequestWithContext(t.Context(), bad.method, "http://agent"+bad.path, strings.NewReader(bad.body))
		if err != nil {
			t.Fatal(err)
		}
		response, err := client.Do(request)
		if err != nil {
			t.Errorf("%s %s %.40s: %v", bad.method, bad.path, bad.body, err)
			continue
		}
		var text bytes.Buffer
		text.ReadFrom(response.Body)
		response.Body.Close()
		if response.StatusCode != http.StatusBadRequest || !strings.HasPrefix(text.String(), `{"error":"`) || !strings.Contains(text.String(), bad.says) {
			t.Errorf("%s %s %.40s: %d %s", bad.method, bad.path, bad.body, response.StatusCode, text.String())
		}
	}
}

func TestTheAgentIsGivenATimeAndNoMore(t *testing.T) {
	path, _, _ := serve(t, scripted{attach: func(ctx context.Context, _ string) (Container, error) {
		<-ctx.Done()
		return Container{}, context.Cause(ctx)
	}}, time.Millisecond)
	if _, err := NewClient(path).Attach(t.Context(), "web"); err == nil || !strings.Contains(err.Error(), "deadline") {
		t.Errorf("got %v", err)
	}
}

func TestARequestEndsWithTheAgent(t *testing.T) {
	began := make(chan struct{})
	path, _, end := serve(t, scripted{attach: func(ctx context.Context, _ string) (Container, error) {
		close(began)
		<-ctx.Done()
		return Container{}, errors.New("the agent ends: ask again")
	}}, time.Hour)
	answered := make(chan error, 1)
	go func() {
		_, err := NewClient(path).Attach(t.Context(), "web")
		answered <- err
	}()
	<-began
	end()
	if err := <-answered; err == nil || !strings.Contains(err.Error(), "ask again") {
		t.Errorf("got %v", err)
	}
}

func TestWhoCannotBeReachedIsExplained(t *testing.T) {
	dir := t.TempDir()
	if _, err := NewClient(filepath.Join(dir, "none.sock")).Containers(t.Context()); !errors.Is(err, ErrNoAgent) {
		t.Errorf("no socket: %v", err)
	}
	deaf, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, "deaf.sock")})
	if err != nil {
		t.Fatal(err)
	}
	defer deaf.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := NewClient(deaf.Addr().String()).Containers(ctx); !errors.Is(err, ErrSilent) {
		t.Errorf("an agent that hangs: %v", err)
	}
	deaf.SetUnlinkOnClose(false)
	deaf.Close()
	if _, err := NewClient(deaf.Addr().String()).Containers(t.Context()); !errors.Is(err, ErrNoAgent) {
		t.Errorf("an agent that is gone: %v", err)
	}
}
