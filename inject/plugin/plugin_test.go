package plugin_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/quaymaster/quaymaster/inject/plugin"
	"github.com/quaymaster/quaymaster/inject/socket"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// client posts as the engine does: a buffer, over the socket.
func client(t *testing.T, path string) *http.Client {
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

type answer struct {
	status int
	text   string
	err    error
}

func post(ctx context.Context, c *http.Client, call, body string) answer {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://plugin.moby.localhost/"+call, bytes.NewBufferString(body))
	if err != nil {
		return answer{err: err}
	}
	response, err := c.Do(request)
	if err != nil {
		return answer{err: err}
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return answer{response.StatusCode, string(text), err}
}

// serve runs a plugin until stop is called, or the test is over.
func serve(t *testing.T, o plugin.Options) (stop func() error) {
	t.Helper()
	o.Log = slog.New(slog.DiscardHandler)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- plugin.New(o).Run(ctx) }()
	stop = sync.OnceValue(func() error { cancel(); return <-done })
	t.Cleanup(func() { stop() })
	return stop
}

// open listens, so that a call waits for the plugin to run.
func open(t *testing.T) (path string, listener *net.UnixListener) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "docker", "plugins", "q.sock")
	listener, err := plugin.Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	return path, listener
}

func subsystem(calls map[string]plugin.Call) []plugin.Subsystem {
	return []plugin.Subsystem{{Name: "VolumeDriver", Calls: calls}, {Name: "secretprovider"}}
}

type named struct{ Name string }

func greet(_ context.Context, r named) (named, error) {
	if r.Name == "" {
		return named{}, errors.New("nobody is named")
	}
	return named{"hello " + r.Name}, nil
}

func TestCalls(t *testing.T) {
	path, listener := open(t)
	stop := serve(t, plugin.Options{Listener: listener, Subsystems: subsystem(map[string]plugin.Call{"X.Greet": plugin.Method(greet)})})
	c := client(t, path)
	for _, test := range []struct {
		call, body string
		status     int
		want       string
	}{
		{"Plugin.Activate", "", 200, `{"Implements":["VolumeDriver","secretprovider"]}`},
		{"X.Greet", `{"Name":"you","Future":[1]}`, 200, `{"Name":"hello you"}`},
		{"X.Greet", `{}`, 200, `{"Err":"nobody is named"}`},
		{"X.Greet", ``, 200, `{"Err":"` + plugin.ErrNoRequest.Error() + `"}`},
		{"X.Greet", `{"Name":7}`, 200, `{"Err":"the agent could not read`},
		{"X.Greet", `{"Name":"` + strings.Repeat("x", plugin.MaxRequest) + `"}`, 200, `{"Err":"the agent could not read`},
		{"X.Unknown", `{}`, 404, "404"},
	} {
		if got := post(t.Context(), c, test.call, test.body); got.err != nil || got.status != test.status || !strings.HasPrefix(got.text, test.want) {
			t.Errorf("%s %.40s: %+v, want %s", test.call, test.body, got, test.want)
		}
	}
	if err := stop(); err != nil {
		t.Errorf("Run: %v", err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is left behind: %v", err)
	}
}

func TestAnswersAreOverwritten(t *testing.T) {
	path, listener := open(t)
	text := []byte(`"hunter2"`)
	stop := serve(t, plugin.Options{Listener: listener, Subsystems: subsystem(map[string]plugin.Call{
		"X.Value": func(context.Context, []byte) ([]byte, error) { return text, nil }})})
	if got := post(t.Context(), client(t, path), "X.Value", "{}"); got.text != `"hunter2"` {
		t.Errorf("%+v", got)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	if !bytes.Equal(text, make([]byte, len(text))) {
		t.Errorf("the answer is still in memory: %q", text)
	}
}

func TestNoAnswer(t *testing.T) {
	path, listener := open(t)
	serve(t, plugin.Options{Listener: listener, Subsystems: subsystem(map[string]plugin.Call{
		"X.Ask": func(context.Context, []byte) ([]byte, error) { return nil, plugin.ErrNoAnswer }})})
	if got := post(t.Context(), client(t, path), "X.Ask", "{}"); !errors.Is(got.err, io.EOF) {
		t.Errorf("%+v, want a connection that ends", got)
	}
}

func TestHangUpCancels(t *testing.T) {
	path, listener := open(t)
	asked, cancelled := make(chan struct{}), make(chan error)
	serve(t, plugin.Options{Listener: listener, Subsystems: subsystem(map[string]plugin.Call{
		"X.Wait": func(ctx context.Context, _ []byte) ([]byte, error) {
			close(asked)
			<-ctx.Done()
			cancelled <- ctx.Err()
			return nil, ctx.Err()
		}})})
	ctx, hangUp := context.WithCancel(t.Context())
	var calling sync.WaitGroup
	calling.Go(func() { post(ctx, client(t, path), "X.Wait", "{}") })
	<-asked
	hangUp()
	if err := <-cancelled; !errors.Is(err, context.Canceled) {
		t.Errorf("the call ended with %v", err)
	}
	calling.Wait()
}

// A call that ends soon is answered by the agent that took it.
func TestStopWaitsForCalls(t *testing.T) {
	path, listener := open(t)
	asked, finish := make(chan struct{}), make(chan struct{})
	stop := serve(t, plugin.Options{Listener: listener, Subsystems: subsystem(map[string]plugin.Call{
		"X.Slow": func(context.Context, []byte) ([]byte, error) { close(asked); <-finish; return json.Marshal("done") }})})
	got := make(chan answer)
	go func() { got <- post(context.Background(), client(t, path), "X.Slow", "{}") }()
	<-asked
	stopped := make(chan error)
	go func() { stopped <- stop() }()
	for { // the listener is closed first
		if conn, err := net.Dial("unix", path); err == nil {
			conn.Close()
			continue
		}
		break
	}
	close(finish)
	if a := <-got; a.text != `"done"` {
		t.Errorf("%+v", a)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

// A call that takes longer than the agent lives is answered by the next one, as
// a whole, where somebody keeps the socket.
func TestStopSendsCallsOn(t *testing.T) {
	path, listener := open(t)
	kept, err := listener.File() // as systemd does
	if err != nil {
		t.Fatal(err)
	}
	defer kept.Close()
	listener.SetUnlinkOnClose(false)
	asked := make(chan struct{})
	stop := serve(t, plugin.Options{Listener: listener, Subsystems: subsystem(map[string]plugin.Call{
		"X.Greet": func(ctx context.Context, _ []byte) ([]byte, error) { close(asked); <-ctx.Done(); return nil, ctx.Err() }})})
	got := make(chan answer)
	go func() { got <- post(context.Background(), client(t, path), "X.Greet", `{"Name":"you"}`) }()
	<-asked
	if err := stop(); err != nil {
		t.Error(err)
	}
	again, err := net.FileListener(kept)
	if err != nil {
		t.Fatal(err)
	}
	serve(t, plugin.Options{Listener: again.(*net.UnixListener), Subsystems: subsystem(map[string]plugin.Call{"X.Greet": plugin.Method(greet)})})
	if a := <-got; a.text != `{"Name":"hello you"}` {
		t.Errorf("%+v", a)
	}
}

func TestListen(t *testing.T) {
	path, listener := open(t)
	defer listener.Close()
	for name, want := range map[string]os.FileMode{path: 0o600 | os.ModeSocket, filepath.Dir(path): 0o711 | os.ModeDir} {
		if info, err := os.Stat(name); err != nil || info.Mode() != want {
			t.Errorf("%s: %v, %v; want %v", name, info.Mode(), err, want)
		}
	}
	err := plugin.New(plugin.Options{Socket: path, Log: slog.New(slog.DiscardHandler)}).Run(t.Context())
	if !errors.Is(err, socket.ErrInUse) || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "another name") {
		t.Errorf("a second agent: %v", err)
	}
	listener.SetUnlinkOnClose(false)
	listener.Close() // as a killed agent leaves it
	again, err := plugin.Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
}
