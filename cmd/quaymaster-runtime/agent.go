package main

import (
	"bytes"
	"errors"
	"io"
	"syscall"
	"time"

	"github.com/quaymaster/quaymaster/inject/runtime/wire"
)

var errNoAnswer = errors.New("no answer in time")

// exchange sends one message to the agent and reads its answer. All of it has
// time until the deadline.
func exchange(socket string, message []byte, deadline time.Time) (wire.Answer, error) {
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return wire.Answer{}, err
	}
	defer syscall.Close(fd)
	s := stream{fd, deadline}
	if err := s.connect(socket); err != nil {
		return wire.Answer{}, err
	}
	if err := s.write(message); err != nil {
		return wire.Answer{}, err
	}
	answer, err := wire.ReadAnswer(s)
	if err == io.EOF {
		return answer, errors.New("it closed the connection without an answer")
	}
	return answer, err
}

func isProtocolError(err error) bool {
	return errors.Is(err, wire.ErrProtocol) || errors.Is(err, wire.ErrTooLarge)
}

// stream is a socket whose calls block until the deadline, with the kernel's
// own time-outs: package net would double the size of this program and the
// time that it needs to begin.
type stream struct {
	fd       int
	deadline time.Time
}

// limit sets how long the next call may block, SO_RCVTIMEO or SO_SNDTIMEO of
// socket(7). Zero would mean forever.
func (s stream) limit(option int) error {
	left := time.Until(s.deadline)
	if left <= 0 {
		return errNoAnswer
	}
	timeval := syscall.NsecToTimeval(int64(max(left, time.Millisecond)))
	return syscall.SetsockoptTimeval(s.fd, syscall.SOL_SOCKET, option, &timeval)
}

func (s stream) connect(socket string) error {
	return s.repeat(syscall.SO_SNDTIMEO, func() error {
		err := syscall.Connect(s.fd, &syscall.SockaddrUnix{Name: socket})
		if err == syscall.EINVAL {
			return errors.New("the path of a socket has at most 107 bytes")
		}
		return err
	})
}

func (s stream) write(message []byte) error {
	for len(message) > 0 {
		var n int
		if err := s.repeat(syscall.SO_SNDTIMEO, func() (err error) {
			n, err = syscall.Write(s.fd, message)
			return err
		}); err != nil {
			return err
		}
		message = message[n:]
	}
	return nil
}

// Read implements io.Reader.
func (s stream) Read(p []byte) (n int, err error) {
	if err := s.repeat(syscall.SO_RCVTIMEO, func() (err error) {
		n, err = syscall.Read(s.fd, p)
		return err
	}); err != nil {
		return 0, err
	}
	if n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

// repeat makes a call that may block, again when a signal interrupts it.
func (s stream) repeat(option int, call func() error) error {
	for {
		if err := s.limit(option); err != nil {
			return err
		}
		switch err := call(); err {
		case syscall.EINTR:
		case syscall.EAGAIN: // the kernel's word for a time-out
			return errNoAnswer
		default:
			return err
		}
	}
}

// readFile reads a file of the engine, of which none is large.
func readFile(path string) ([]byte, error) {
	fd, err := syscall.Open(path, syscall.O_RDONLY|syscall.O_CLOEXEC|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer syscall.Close(fd)
	text, _, err := readRegular(fd)
	return text, err
}

// readRegular reads an open file whole. What is no regular file could block or
// never end.
func readRegular(fd int) ([]byte, syscall.Stat_t, error) {
	const largest = 64 << 20
	var st syscall.Stat_t
	if err := syscall.Fstat(fd, &st); err != nil {
		return nil, st, err
	}
	if st.Mode&syscall.S_IFMT != syscall.S_IFREG || st.Size > largest {
		return nil, st, errors.New("not a regular file of at most 64 MiB")
	}
	text := bytes.NewBuffer(make([]byte, 0, st.Size+512))
	if _, err := text.ReadFrom(io.LimitReader(file(fd), largest)); err != nil {
		return nil, st, err
	}
	return text.Bytes(), st, nil
}

// file reads from a descriptor.
type file int

// Read implements io.Reader.
func (f file) Read(p []byte) (int, error) {
	for {
		n, err := syscall.Read(int(f), p)
		switch {
		case err == syscall.EINTR:
		case err != nil:
			return 0, err
		case n == 0:
			return 0, io.EOF
		default:
			return n, nil
		}
	}
}
