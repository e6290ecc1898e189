package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// sealed is what makes a memory file one that nobody can change or shrink any
// more, so that who reads it reads what was kept.
const sealed = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE

// maxContent bounds, in bytes, what is taken back.
const maxContent = 256 << 20

// errNoStore says that there is nowhere to keep anything.
var errNoStore = errors.New("nobody keeps file descriptors for this agent")

// keep leaves content to the agent that comes next under this supervisor, in
// place of what was kept under that name before. It lies in a sealed memory
// file, which has no name in any file system and which the supervisor alone
// holds once this process is gone; it ends with the host, or when the service
// is stopped for good. When keep returns nil, the supervisor has read the
// message. Where there is no supervisor, the error is errNoStore. content
// stays the caller's to wipe.
func (s *supervisor) keep(name string, content []byte) error {
	if s.socket == "" {
		return errNoStore
	}
	fd, err := memoryFile(name, content)
	if err != nil {
		return fmt.Errorf("keep %s for the next agent: %w", name, err)
	}
	defer unix.Close(fd)
	if err := s.forget(name); err != nil {
		return err
	}
	if err := s.send("FDSTORE=1\nFDNAME="+name, fd); err != nil {
		return err
	}
	return s.barrier()
}

// forget has the supervisor drop what it keeps under that name.
func (s *supervisor) forget(name string) error { return s.send("FDSTOREREMOVE=1\nFDNAME=" + name) }

// kept gives away what an earlier agent kept under that name: it is the
// caller's to wipe. nil: there is none.
func (s *supervisor) kept(name string) []byte {
	defer delete(s.contents, name)
	return s.contents[name]
}

// takeContent reads what an earlier agent kept, and has it dropped from the
// store whether or not it can be read: secrets lie there no longer than from
// one agent to the next.
func (s *supervisor) takeContent(name string, file *os.File) error {
	if err := s.forget(name); err != nil {
		s.log.Warn("what an earlier agent kept stays in the supervisor's store", "name", name, "error", err)
	}
	if s.contents[name] != nil {
		return errors.New("it was kept twice: the first one is used")
	}
	content, err := readSealed(file)
	if err != nil {
		return fmt.Errorf("what an earlier agent kept cannot be read, so its secrets are fetched again: %w", err)
	}
	s.contents[name] = content
	return nil
}

// memoryFile makes a sealed memory file (memfd_create(2)).
func memoryFile(name string, content []byte) (fd int, err error) {
	fd, err = unix.MemfdCreate("quaymaster-"+name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return -1, fmt.Errorf("make a memory file: %w", err)
	}
	if err := fill(fd, content); err != nil {
		return -1, errors.Join(err, unix.Close(fd))
	}
	return fd, nil
}

func fill(fd int, content []byte) error {
	for len(content) > 0 {
		n, err := unix.Write(fd, content)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("write a memory file: %w", err)
		}
		content = content[max(n, 0):]
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, sealed); err != nil {
		return fmt.Errorf("seal a memory file: %w", err)
	}
	return nil
}

// readSealed reads a memory file from its beginning: its offset is where the
// writer left it.
func readSealed(file *os.File) ([]byte, error) {
	seals, err := unix.FcntlInt(file.Fd(), unix.F_GET_SEALS, 0)
	if err != nil {
		return nil, fmt.Errorf("not a memory file: %w", err)
	}
	if seals&sealed != sealed {
		return nil, errors.New("not sealed: others may still change it")
	}
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() > maxContent {
		return nil, fmt.Errorf("%d bytes are more than the %d that an agent keeps", info.Size(), maxContent)
	}
	content := make([]byte, info.Size())
	if _, err := io.ReadFull(io.NewSectionReader(file, 0, info.Size()), content); err != nil {
		clear(content)
		return nil, err
	}
	return content, nil
}

// barrier waits until the supervisor has read what was sent so far: it closes
// its end of a pipe when it comes to the message (sd_notify_barrier(3)).
// Without that, an agent that ends at once may be gone before the supervisor
// could tell whose message it reads, and throws it away.
func (s *supervisor) barrier() error {
	ours, theirs, err := os.Pipe()
	if err != nil {
		return err
	}
	defer ours.Close()
	err = errors.Join(s.send("BARRIER=1", int(theirs.Fd())), theirs.Close())
	if err != nil {
		return err
	}
	if err := ours.SetReadDeadline(time.Now().Add(hearTimeout)); err != nil {
		return err
	}
	if _, err := ours.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		return fmt.Errorf("the supervisor did not say that it has read what was sent: %w", err)
	}
	return nil
}
