// Package plugin is a legacy Docker plugin: an HTTP server on a Unix socket in
// /run/docker/plugins, which the engine finds by the socket's name.
//
// The engine posts JSON to a path that names the call, as in
// /VolumeDriver.Mount, and waits for JSON. First of all it posts to
// /Plugin.Activate, to learn which subsystems the plugin implements. What a
// subsystem does is its own affair: this package keeps the socket, the
// protocol, and what becomes of the calls when the agent ends.
//
// A call that is under way then must not be lost. The engine (pkg/plugins in
// its source) repeats a call whose connection broke, but with an empty body: it
// has read the buffer that holds it to its end. A redirection it follows with
// the whole body. So who cannot be answered before the agent ends is sent to
// the same socket once more; where systemd holds the socket, the next agent is
// there. Connections are not kept for a second call, because one that is closed
// just as the engine writes to it is a broken one too.
package plugin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/quaymaster/quaymaster/inject/socket"
)

// Times that bound what others may keep open.
const (
	// drain is how long calls that are under way may take to end when the
	// agent does, before they are sent on.
	drain = 2 * time.Second
	// talk is how long a peer may take to say what it wants, and to read what
	// it is answered.
	talk = 10 * time.Second
)

// Subsystem is a part of the engine that a plugin implements.
type Subsystem struct {
	Name  string          // as the engine calls it: VolumeDriver, secretprovider
	Calls map[string]Call // by name, as in VolumeDriver.Mount
}

// Options are the parts of a Plugin. All but one of Socket and Listener are
// required.
type Options struct {
	Socket     string            // where to listen: /run/docker/plugins/<name>.sock
	Listener   *net.UnixListener // listens already, as under socket activation; Run closes it
	Subsystems []Subsystem
	Log        *slog.Logger
}

// Plugin serves the engine's calls.
type Plugin struct{ Options }

// New makes a Plugin; Run opens it.
func New(options Options) *Plugin { return &Plugin{options} }

// Listen opens a plugin's socket (mode 0600), and makes its directory where the
// engine, which starts later, has not been yet. What a dead agent left there is
// removed.
func Listen(path string) (*net.UnixListener, error) {
	err := os.MkdirAll(filepath.Dir(filepath.Dir(path)), 0o700) // the mode that the engine gives /run/docker
	var listener *net.UnixListener
	if err == nil {
		listener, err = socket.Listen(path)
	}
	if errors.Is(err, socket.ErrInUse) {
		err = fmt.Errorf("%w: stop it, or give this one's plugin another name", err)
	}
	if err != nil {
		return nil, fmt.Errorf("docker plugin: socket %s: %w", path, err)
	}
	return listener, nil
}

// Run listens and serves until ctx is done and the calls that were under way
// then are answered or sent on; then it returns nil.
func (p *Plugin) Run(ctx context.Context) error {
	listener := p.Listener
	if listener == nil {
		var err error
		if listener, err = Listen(p.Socket); err != nil {
			return err
		}
	}
	calls, stopCalls := context.WithCancel(context.WithoutCancel(ctx))
	defer stopCalls()
	server := &http.Server{
		Handler:           p.handler(calls),
		BaseContext:       func(net.Listener) context.Context { return calls },
		ReadHeaderTimeout: talk,
		ErrorLog:          slog.NewLogLogger(p.Log.Handler(), slog.LevelWarn),
	}
	server.SetKeepAlivesEnabled(false)
	var ending sync.WaitGroup
	defer ending.Wait()
	served, stopServing := context.WithCancel(ctx)
	defer stopServing()
	ending.Go(func() {
		<-served.Done()
		shutDown(server, stopCalls)
	})
	if err := server.Serve(socket.RootOnly(listener, p.Log)); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("docker plugin: accept on %s: %w", listener.Addr(), err)
	}
	return nil
}

// shutDown closes the listener, waits for the calls, and sends on what remains.
func shutDown(server *http.Server, stopCalls func()) {
	patient, cancel := context.WithTimeout(context.Background(), drain)
	defer cancel()
	if server.Shutdown(patient) == nil {
		return
	}
	stopCalls()
	last, cancel := context.WithTimeout(context.Background(), drain)
	defer cancel()
	if server.Shutdown(last) != nil {
		server.Close()
	}
}
