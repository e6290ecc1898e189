package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"
)

// The names under which the agent is handed its sockets: FileDescriptorName=
// of the socket units in packaging/systemd.
const (
	socketRuntime = "runtime"
	socketPlugin  = "plugin"
	socketAgent   = "agent"
)

// heldName is what the secrets that this agent leaves to the next one are
// called in the supervisor's file-descriptor store.
const heldName = "held"

// hearTimeout is how long the supervisor may take to hear.
const hearTimeout = 5 * time.Second

// A supervisor is what started the agent, as far as it speaks systemd's
// protocols: it may hand over sockets that it listened at already
// (sd_listen_fds(3)), may want to hear how the agent is (sd_notify(3)), and may
// keep file descriptors from one agent to the next. Where it speaks none of
// them, every method does nothing, and every answer is empty.
type supervisor struct {
	log       *slog.Logger
	socket    string        // where it hears; empty: nowhere
	watchdog  time.Duration // how long it takes silence for life; zero: for ever
	listeners map[string]*net.UnixListener
	contents  map[string][]byte
}

// newSupervisor takes over what this process was started with, and removes it
// from the environment, so that no child takes it for its own. It is called
// once, before anything else opens a file descriptor.
func newSupervisor(log *slog.Logger) *supervisor {
	s := &supervisor{
		log: log, socket: os.Getenv("NOTIFY_SOCKET"),
		listeners: map[string]*net.UnixListener{}, contents: map[string][]byte{},
	}
	os.Unsetenv("NOTIFY_SOCKET")
	var err error
	if s.watchdog, err = daemon.SdWatchdogEnabled(true); err != nil {
		log.Warn("the watchdog's interval could not be read; nothing is told to it", "error", err)
	}
	for _, file := range activation.Files(true) {
		if err := s.take(file); err != nil {
			log.Warn("what the supervisor handed over is not used", "name", file.Name(), "error", err)
		}
		file.Close() // a listener has its own descriptor, a content was read
	}
	return s
}

// take sorts out one file descriptor.
func (s *supervisor) take(file *os.File) error {
	switch name := file.Name(); name {
	case socketRuntime, socketPlugin, socketAgent:
		return s.takeListener(name, file)
	case heldName:
		return s.takeContent(name, file)
	default:
		return fmt.Errorf("no such name is known: %s, %s, %s and %s are", socketRuntime, socketPlugin, socketAgent, heldName)
	}
}

func (s *supervisor) takeListener(name string, file *os.File) error {
	if s.listeners[name] != nil {
		return errors.New("a socket of that name was handed over already: one unit has one ListenStream")
	}
	listener, err := net.FileListener(file)
	if err != nil {
		return err
	}
	socket, isUnix := listener.(*net.UnixListener)
	if !isUnix {
		return errors.Join(fmt.Errorf("it listens at %s: a Unix stream socket is wanted", listener.Addr()), listener.Close())
	}
	s.listeners[name] = socket
	return nil
}

// listener gives the socket of that name away: it is the caller's to close,
// which leaves the supervisor listening. nil: there is none.
func (s *supervisor) listener(name string) *net.UnixListener {
	defer delete(s.listeners, name)
	return s.listeners[name]
}

// ready says that the gates answer. status is one line for people.
func (s *supervisor) ready(status string) { s.tell("READY=1", "STATUS="+line(status)) }

// status says in one line for people what the agent does.
func (s *supervisor) status(text string) { s.tell("STATUS=" + line(text)) }

// reloading says that the configuration is being read again; ready ends that.
func (s *supervisor) reloading() {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		s.log.Warn("the supervisor was not told of the reload", "error", err)
		return
	}
	s.tell("RELOADING=1", fmt.Sprintf("MONOTONIC_USEC=%d", now.Nano()/1000))
}

// stopping says that the agent ends.
func (s *supervisor) stopping() { s.tell("STOPPING=1") }

// watch tells the watchdog that the agent lives, until ctx ends: twice in each
// of its intervals, each time after probe has returned. So an agent that is
// stuck where probe would be is restarted.
func (s *supervisor) watch(ctx context.Context, probe func(context.Context)) error {
	if s.watchdog == 0 {
		return nil
	}
	tick := time.NewTicker(s.watchdog / 2)
	defer tick.Stop()
	for {
		probe(ctx)
		s.tell("WATCHDOG=1")
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// close closes the sockets that nobody wanted, and says so: a connection to
// them waits for nothing.
func (s *supervisor) close() {
	for name, listener := range s.listeners {
		s.log.Warn("the supervisor listens at a socket that this configuration does not use: stop its unit", "name", name, "socket", listener.Addr())
		listener.Close()
	}
	clear(s.listeners)
}

// tell sends assignments. That they are not heard is no reason to end.
func (s *supervisor) tell(assignments ...string) {
	if err := s.send(strings.Join(assignments, "\n")); err != nil {
		s.log.Warn("the supervisor was not told how the agent is", "error", err)
	}
}

// send sends one message, with file descriptors. Where nobody hears it, that
// is no error.
func (s *supervisor) send(message string, fds ...int) error {
	if s.socket == "" {
		return nil
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("notify the supervisor: %w", err)
	}
	defer unix.Close(fd)
	timeout := unix.NsecToTimeval(hearTimeout.Nanoseconds())
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &timeout); err != nil {
		return fmt.Errorf("notify the supervisor: %w", err)
	}
	var rights []byte
	if len(fds) > 0 {
		rights = unix.UnixRights(fds...)
	}
	if err := unix.Sendmsg(fd, []byte(message), rights, &unix.SockaddrUnix{Name: s.socket}, unix.MSG_NOSIGNAL); err != nil {
		return fmt.Errorf("notify the supervisor at %s: %w", s.socket, err)
	}
	return nil
}

// line keeps a text from being more than one assignment.
func line(text string) string {
	return strings.Join(slices.Collect(strings.FieldsFuncSeq(text, func(r rune) bool { return r == '\n' || r == '\r' })), " ")
}
