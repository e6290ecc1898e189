// Package runtime is the agent's side of the runtime gate.
//
// The engine starts containers with quaymaster-runtime, which knocks here
// before it hands over to the real runtime: one connection to a Unix socket
// per container, one wire.Request, one wire.Answer. The Gate turns the request
// into an inject.Arrival, asks the Deliverer and answers; the container waits
// meanwhile. Package spec is what the other side does with the answer.
//
// The hook of a CDI device knocks at the same socket, for a container whose
// mount namespace exists already. There the Gate mounts the tree itself before
// it lets the container pass: cdi.go.
//
// Whoever may speak here may have the secrets of any container. So the socket
// belongs to root alone, and the kernel is asked who the peer is.
package runtime

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/quaymaster/quaymaster/inject"
	"github.com/quaymaster/quaymaster/inject/runtime/wire"
	"github.com/quaymaster/quaymaster/inject/socket"
)

// Options are the parts of a Gate. One of Socket and Listener is required, and
// so is what does not say otherwise.
type Options struct {
	Socket    string            // where to listen
	Listener  *net.UnixListener // listens already, as under socket activation; Run closes it
	Deliverer inject.Deliverer
	Attacher  RootAttacher  // nil: hooks of CDI devices are refused
	Ender     inject.Ender  // nil: nobody is told of a container that a failed mount kept from starting
	Timeout   time.Duration // how long quaymaster-runtime waits for the answer
	Log       *slog.Logger
}

// Gate answers quaymaster-runtime.
type Gate struct{ Options }

// New makes a Gate; Run opens it.
func New(options Options) *Gate { return &Gate{options} }

// Run listens and serves until ctx is done; then it returns nil. A delivery
// that is under way at that moment is cancelled and its connection closed
// without an answer: the runtime knocks again until its own time is over, and
// so meets the agent that comes next.
func (g *Gate) Run(ctx context.Context) error {
	listener := g.Listener
	if listener == nil {
		var err error
		if listener, err = Listen(g.Socket); err != nil {
			return err
		}
	}
	var running sync.WaitGroup
	defer running.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	running.Go(func() {
		<-ctx.Done()
		listener.Close()
	})
	for {
		conn, err := listener.AcceptUnix()
		switch {
		case err == nil:
			running.Go(func() { g.serve(ctx, conn) })
		case ctx.Err() != nil:
			return nil
		case !passes(err):
			return fmt.Errorf("runtime gate: accept on %s: %w", listener.Addr(), err)
		default:
			g.Log.Warn("runtime gate cannot accept a connection, trying again", "error", err)
			wait(ctx, 100*time.Millisecond)
		}
	}
}

// passes reports whether accept(2) may succeed again later: the peer went
// away, or the host is short of something.
func passes(err error) bool {
	for _, passing := range []error{syscall.ECONNABORTED, syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM} {
		if errors.Is(err, passing) {
			return true
		}
	}
	return false
}

func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// serve answers one connection.
func (g *Gate) serve(ctx context.Context, conn *net.UnixConn) {
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { hangUp(conn) })
	defer stop()
	if err := socket.CheckPeer(conn); err != nil {
		g.Log.Warn("runtime gate turned a peer away", "error", err)
		return
	}
	answer, err := g.answer(ctx, conn)
	if err != nil {
		if ctx.Err() != nil {
			return // the next agent answers
		}
		answer = wire.Answer{Verdict: wire.Refuse, Message: err.Error()}
	}
	if err := g.send(conn, answer); err != nil {
		g.Log.Warn("runtime gate could not send its answer", "error", err)
	}
}

// answer reads the request and has it decided.
func (g *Gate) answer(ctx context.Context, conn *net.UnixConn) (wire.Answer, error) {
	conn.SetReadDeadline(time.Now().Add(g.Timeout))
	request, err := wire.ReadRequest(conn)
	if err != nil {
		return wire.Answer{}, fmt.Errorf("the agent could not read what quaymaster-runtime sent: %w", err)
	}
	// The agent gives up first, so that its reason is what the user sees and
	// not the runtime's "no answer".
	ctx, cancel := context.WithTimeout(ctx, g.Timeout*9/10)
	defer cancel()
	defer whileConnected(conn, cancel)()
	delivery, err := g.deliver(ctx, request)
	if err != nil {
		g.Log.Warn("runtime gate refused a container", "container", request.ID, "error", err)
		return wire.Answer{}, err
	}
	return toAnswer(delivery), nil
}

// whileConnected calls cancel when the peer hangs up, which nobody but a peer
// that gave up does before it has the answer. The returned function ends the
// watch.
func whileConnected(conn *net.UnixConn, cancel func()) (stop func()) {
	conn.SetReadDeadline(time.Time{})
	var watch sync.WaitGroup
	watch.Go(func() {
		conn.Read(make([]byte, 1))
		cancel()
	})
	return func() {
		hangUp(conn)
		watch.Wait()
	}
}

// hangUp ends every read on conn, now and later.
func hangUp(conn *net.UnixConn) { conn.SetReadDeadline(time.Unix(1, 0)) }

// deliver asks the Deliverer; a bug in there refuses this one container.
func (g *Gate) deliver(ctx context.Context, request wire.Request) (delivery inject.Delivery, err error) {
	arrival := arrival(request)
	defer inject.Recover(g.Log, &err, "container", arrival.Container)
	if request.Profile != "" {
		return inject.Delivery{}, g.deliverToHook(ctx, asHook(arrival, request), request.Root)
	}
	return g.Deliverer.Deliver(ctx, arrival)
}

func arrival(r wire.Request) inject.Arrival {
	return inject.Arrival{
		Gate: inject.GateRuntime, Container: r.ID,
		User:   &inject.Owner{UID: r.UID, GID: r.GID},
		UIDMap: idMaps(r.UIDMap), GIDMap: idMaps(r.GIDMap),
		Mounts: r.Mounts, EngineDir: r.EngineDir, MemoryOnly: r.MemoryOnly,
	}
}

func idMaps(from []wire.IDMap) []inject.IDMap {
	var to []inject.IDMap
	for _, m := range from {
		to = append(to, inject.IDMap(m))
	}
	return to
}

func toAnswer(d inject.Delivery) wire.Answer {
	if d.Source == "" && len(d.Variables) == 0 {
		return wire.Answer{Verdict: wire.Pass}
	}
	answer := wire.Answer{Verdict: wire.Deliver, Source: d.Source, Target: d.Target}
	if d.Source == "" {
		answer.Target = "" // no files: nothing to mount there
	}
	for _, v := range d.Variables {
		// Revealed while the answer is written: it is the container's to have.
		answer.Variables = append(answer.Variables, wire.Variable{Name: v.Name, Value: v.Value.Reveal})
	}
	answer.ExecVariables = d.ExecVariables && len(d.Variables) > 0
	return answer
}

// send writes the answer and overwrites what it has written.
func (g *Gate) send(conn *net.UnixConn, answer wire.Answer) error {
	text, err := answer.Encode()
	if err != nil {
		answer = wire.Answer{Verdict: wire.Refuse, Message: "the variables of this container are too large together: " + err.Error()}
		if text, err = answer.Encode(); err != nil {
			return err
		}
	}
	defer clear(text)
	conn.SetWriteDeadline(time.Now().Add(g.Timeout))
	_, err = conn.Write(text)
	return err
}
