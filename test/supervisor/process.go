package supervisor

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/quaymaster/quaymaster/test/daemon"
)

// maxFailures is how many processes in a row may end without having been ready.
// The units have no such limit; a test would wait for nothing.
const maxFailures = 10

// supervise starts one process after the other, until the supervisor ends.
func (s *Supervisor) supervise() {
	for failures := 0; !s.isEnding(); {
		if s.OnDemand && !s.awaitConnection() {
			return
		}
		process, err := s.start()
		if err != nil {
			s.fail(err)
			return
		}
		if process == nil {
			return
		}
		<-process.Exited()
		s.drain()
		if failures++; s.gone() {
			failures = 0
		}
		if failures == maxFailures {
			s.fail(fmt.Errorf("%d processes in a row ended before they were ready; the log ends with:\n%s", failures, daemon.Tail(s.LogFile(), 25)))
			return
		}
	}
}

// awaitConnection waits until a connection waits at one of the sockets. It
// returns false when the supervisor ends.
func (s *Supervisor) awaitConnection() bool {
	wanted := []unix.PollFd{{Fd: int32(s.waking.Fd()), Events: unix.POLLIN}}
	for _, socket := range s.sockets {
		wanted = append(wanted, unix.PollFd{Fd: int32(socket.Fd()), Events: unix.POLLIN})
	}
	for {
		_, err := unix.Poll(wanted, -1)
		if s.isEnding() {
			return false
		}
		if err == nil {
			return true
		}
	}
}

// shim is where LISTEN_PID comes from: the process's number is known only
// when it exists, and stays the same when it becomes another program.
const shim = `export LISTEN_PID=$$ WATCHDOG_PID=$$; exec "$@"`

// start starts one process. It returns nil when the supervisor has ended
// meanwhile.
func (s *Supervisor) start() (*daemon.Daemon, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.isEnding() {
		return nil, nil
	}
	command := exec.Command("/bin/sh", slices.Concat([]string{"-c", shim, "shim"}, s.Command)...)
	names := s.handOver(command)
	command.Env = append(slices.Clone(s.Environment), "NOTIFY_SOCKET="+s.notifyPath(),
		fmt.Sprintf("LISTEN_FDS=%d", len(names)), "LISTEN_FDNAMES="+strings.Join(names, ":"))
	if s.Watchdog > 0 {
		command.Env = append(command.Env, fmt.Sprintf("WATCHDOG_USEC=%d", s.Watchdog.Microseconds()))
	}
	process, err := daemon.Start(command, s.LogFile())
	if err != nil {
		return nil, err
	}
	s.process, s.state = process, State{PID: process.PID()}
	s.starts++
	s.change()
	return process, nil
}

// handOver gives the command the sockets and what was kept, in this order, and
// returns their names.
func (s *Supervisor) handOver(command *exec.Cmd) (names []string) {
	for i, socket := range s.sockets {
		names, command.ExtraFiles = append(names, s.Sockets[i].Name), append(command.ExtraFiles, socket)
	}
	for _, k := range s.kept {
		names, command.ExtraFiles = append(names, k.name), append(command.ExtraFiles, k.file)
	}
	return names
}

// gone notes that the process is gone, and reports whether it was ever ready.
func (s *Supervisor) gone() (ready bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ready = s.state.wasReady
	s.process, s.state = nil, State{}
	s.change()
	return ready
}

func (s *Supervisor) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failure = err
	s.change()
}

// keep takes a file descriptor into the store, which owns it from now on.
func (s *Supervisor) keep(name string, fds []int) {
	for _, fd := range fds {
		s.kept = append(s.kept, kept{name: name, file: os.NewFile(uintptr(fd), name)})
	}
}

// drop closes what is kept under that name.
func (s *Supervisor) drop(name string) {
	s.kept = slices.DeleteFunc(s.kept, func(k kept) bool {
		if k.name != name {
			return false
		}
		k.file.Close()
		return true
	})
}
