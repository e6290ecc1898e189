package supervisor

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// openNotify opens the socket at which the service is heard, and has the
// kernel say who sent each message.
func openNotify(path string) (*net.UnixConn, error) {
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return nil, err
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	var failure error
	if err := raw.Control(func(fd uintptr) {
		failure = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PASSCRED, 1)
	}); err != nil || failure != nil {
		return nil, errors.Join(err, failure, conn.Close())
	}
	return conn, nil
}

// message is one message of a process.
type message struct {
	pid    int
	fields map[string]string
	fds    []int
}

// hear reads messages until the notification socket is closed.
func (s *Supervisor) hear() {
	for {
		m, err := receive(s.notify)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			s.fail(fmt.Errorf("hear the service: %w", err))
			return
		}
		s.obey(m)
	}
}

func receive(conn *net.UnixConn) (message, error) {
	text, control := make([]byte, 4096), make([]byte, 4096)
	n, c, _, _, err := conn.ReadMsgUnix(text, control)
	if err != nil {
		return message{}, err
	}
	m := message{fields: map[string]string{}}
	for field := range bytes.SplitSeq(text[:n], []byte("\n")) {
		if key, value, found := strings.Cut(string(field), "="); found {
			m.fields[key] = value
		}
	}
	parts, err := unix.ParseSocketControlMessage(control[:c])
	if err != nil {
		return message{}, err
	}
	for _, part := range parts {
		switch part.Header.Type {
		case unix.SCM_RIGHTS:
			if m.fds, err = unix.ParseUnixRights(&part); err != nil {
				return message{}, err
			}
		case unix.SCM_CREDENTIALS:
			credentials, err := unix.ParseUnixCredentials(&part)
			if err != nil {
				return message{}, err
			}
			m.pid = int(credentials.Pid)
		}
	}
	return m, nil
}

// drainField is what the supervisor sends to itself: what was sent before it
// has been read when it is.
const drainField = "X_DRAINED"

// drain waits until everything that the process sent has been read.
func (s *Supervisor) drain() {
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: s.notifyPath(), Net: "unixgram"})
	if err != nil {
		return // the supervisor ends
	}
	defer conn.Close()
	done := make(chan struct{})
	s.mu.Lock()
	s.drained = done
	s.mu.Unlock()
	if _, err := fmt.Fprint(conn, drainField+"=1"); err != nil {
		return
	}
	select {
	case <-done:
	case <-s.ending:
	}
}

// obey does what one message says. File descriptors that nothing is said of
// are closed, which is also what a barrier waits for.
func (s *Supervisor) obey(m message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, own := m.fields[drainField]
	switch {
	case own:
		close(s.drained)
	case m.pid != s.state.PID: // NotifyAccess=main
	case m.fields["FDSTORE"] == "1":
		s.keep(m.fields["FDNAME"], m.fds)
		m.fds = nil
	case m.fields["FDSTOREREMOVE"] == "1":
		s.drop(m.fields["FDNAME"])
	default:
		s.state.note(m.fields)
	}
	for _, fd := range m.fds {
		unix.Close(fd)
	}
	s.change()
}

// note takes over what a process says of itself.
func (s *State) note(fields map[string]string) {
	if fields["READY"] == "1" {
		s.Ready, s.Reloading, s.wasReady = true, false, true
	}
	if _, err := strconv.ParseUint(fields["MONOTONIC_USEC"], 10, 64); err == nil && fields["RELOADING"] == "1" {
		s.Ready, s.Reloading = false, true
	}
	if fields["STOPPING"] == "1" {
		s.Ready, s.Stopping = false, true
	}
	if fields["WATCHDOG"] == "1" {
		s.Pings++
	}
	if status, said := fields["STATUS"]; said {
		s.Status = status
	}
}
