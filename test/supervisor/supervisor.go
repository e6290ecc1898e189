// Package supervisor stands in for systemd in tests: it does for one service
// what systemd does by the units in packaging/systemd.
//
// A Supervisor listens at the service's sockets for as long as it lives, so a
// connection that is made while no process of the service lives waits for the
// next one. It starts the process, at once or when the first connection waits,
// hands it the sockets (sd_listen_fds(3)), hears what it says (sd_notify(3)),
// keeps the file descriptors that it asks to be kept, and starts the next
// process when it ends, however it ended, with the sockets and with what was
// kept. Only what comes from the service's main process is heard
// (NotifyAccess=main).
//
// It goes by the manual pages of systemd 252, which is not shown here to do
// the same: that takes a machine on which it is the first process.
package supervisor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/quaymaster/quaymaster/test/daemon"
)

// Socket is one socket unit: FileDescriptorName= and ListenStream=.
type Socket struct{ Name, Path string }

// Options of a Supervisor.
type Options struct {
	// Command is the service's program and its arguments.
	Command []string
	// Environment is that of the service, as "name=value".
	Environment []string
	Sockets     []Socket
	// OnDemand starts a process only when a connection waits for it, again and
	// again: the units of which only the sockets are started, without Restart=.
	OnDemand bool
	// Watchdog is WatchdogSec=; zero: nothing is expected. It is told to the
	// service, and not enforced.
	Watchdog time.Duration
	// Dir is for the notification socket and the service's log.
	Dir string
	// Log is the file that the service's output is appended to; empty: one in Dir.
	Log string
}

// Supervisor runs one service.
type Supervisor struct {
	Options
	sockets []*os.File // in the order of Options.Sockets
	notify  *net.UnixConn
	wake    *os.File // closed when the supervisor ends
	waking  *os.File // readable then
	ending  chan struct{}
	work    sync.WaitGroup

	mu      sync.Mutex
	changed chan struct{} // closed, and made anew, when anything below changes
	process *daemon.Daemon
	starts  int
	state   State
	kept    []kept
	drained chan struct{} // closed when the messages of the process that ended were read
	failure error
}

// State is what the present process has said of itself.
type State struct {
	PID       int // zero: no process lives
	Ready     bool
	Reloading bool
	Stopping  bool
	Status    string
	Pings     int // of the watchdog

	wasReady bool
}

// kept is one file descriptor of the store.
type kept struct {
	name string
	file *os.File
}

// Start listens at the sockets and starts the service. Whoever starts a
// Supervisor ends it with Stop.
func Start(o Options) (_ *Supervisor, err error) {
	s := &Supervisor{Options: o, changed: make(chan struct{}), ending: make(chan struct{})}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	for _, socket := range o.Sockets {
		file, err := listen(socket.Path)
		if err != nil {
			return nil, err
		}
		s.sockets = append(s.sockets, file)
	}
	if s.waking, s.wake, err = os.Pipe(); err != nil {
		return nil, err
	}
	if s.notify, err = openNotify(s.notifyPath()); err != nil {
		return nil, err
	}
	s.work.Go(s.hear)
	s.work.Go(s.supervise)
	return s, nil
}

// listen opens a listening socket as a socket unit with SocketMode=0600 does.
func listen(path string) (*os.File, error) {
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	listener.SetUnlinkOnClose(false)
	file, err := listener.File()
	return file, errors.Join(err, os.Chmod(path, 0o600), listener.Close())
}

func (s *Supervisor) notifyPath() string { return filepath.Join(s.Dir, "notify.sock") }

// LogFile is where the service's output goes, over all of its processes.
func (s *Supervisor) LogFile() string { return cmp.Or(s.Log, filepath.Join(s.Dir, "service.log")) }

// State is what the present process has said.
func (s *Supervisor) State() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state
}

// Starts is how many processes were started so far.
func (s *Supervisor) Starts() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.starts
}

// Stored are the names in the file-descriptor store, sorted.
func (s *Supervisor) Stored() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	names := map[string]int{}
	for _, k := range s.kept {
		names[k.name]++
	}
	return slices.Sorted(maps.Keys(names))
}

// Await waits until ok says yes to the state of the present process.
func (s *Supervisor) Await(ctx context.Context, ok func(State) bool) error {
	for {
		s.mu.Lock()
		state, changed, failure := s.state, s.changed, s.failure
		s.mu.Unlock()
		if failure != nil {
			return failure
		}
		if ok(state) {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("waited in vain for the service, which is %+v: %w; its log ends with:\n%s", state, ctx.Err(), daemon.Tail(s.LogFile(), 25))
		}
	}
}

// Ready waits until the present process, or the next, is ready.
func (s *Supervisor) Ready(ctx context.Context) error {
	return s.Await(ctx, func(state State) bool { return state.Ready })
}

// Restart ends the process as `systemctl restart` does, and waits until the
// next one is ready.
func (s *Supervisor) Restart(ctx context.Context) error {
	return s.next(ctx, func(d *daemon.Daemon) error { return d.Stop(ctx) })
}

// Kill ends the process without a word, and waits until the next one is ready.
func (s *Supervisor) Kill(ctx context.Context) error {
	return s.next(ctx, (*daemon.Daemon).Kill)
}

func (s *Supervisor) next(ctx context.Context, end func(*daemon.Daemon) error) error {
	s.mu.Lock()
	process, old := s.process, s.state.PID
	s.mu.Unlock()
	if process == nil {
		return errors.New("no process lives that could be ended")
	}
	if err := end(process); err != nil {
		return err
	}
	return s.Await(ctx, func(state State) bool {
		return state.PID != old && (state.Ready || s.OnDemand && state.PID == 0)
	})
}

// Stop ends the service and the supervisor, as `systemctl stop` does to the
// service and its sockets: what was kept is dropped.
func (s *Supervisor) Stop(ctx context.Context) error {
	close(s.ending)
	s.wake.Close()
	s.mu.Lock()
	process := s.process
	s.mu.Unlock()
	var err error
	if process != nil {
		err = process.Stop(ctx)
	}
	s.notify.Close()
	s.work.Wait()
	return errors.Join(err, s.failure, s.close())
}

func (s *Supervisor) close() error {
	var errs []error
	for i, file := range s.sockets {
		errs = append(errs, file.Close(), os.Remove(s.Sockets[i].Path))
	}
	for _, k := range s.kept {
		errs = append(errs, k.file.Close())
	}
	if s.notify != nil {
		errs = append(errs, os.Remove(s.notifyPath()))
	}
	for _, file := range []*os.File{s.waking, s.wake} {
		if file != nil {
			file.Close() // one of them was closed by Stop
		}
	}
	return errors.Join(errs...)
}

// change lets who waits look again. The caller has locked s.mu.
func (s *Supervisor) change() {
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *Supervisor) isEnding() bool {
	select {
	case <-s.ending:
		return true
	default:
		return false
	}
}
