// Package daemon runs the server processes of the tests: a Vault, a dockerd,
// a containerd.
//
// A Daemon is one process with one log file. It is ready when a caller's own
// question to it is answered (Until), never after a while; if it dies first,
// the error ends with the last lines of its log. Whoever starts a Daemon ends
// it with Stop or Kill, both of which wait until the process is gone.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// ErrExited says that the process was gone when it was still needed.
var ErrExited = errors.New("process has exited")

// tailLines is how much of a log an error carries.
const tailLines = 25

// Daemon is a running, or once running, process.
type Daemon struct {
	name   string
	log    string
	cmd    *exec.Cmd
	exited chan struct{} // closed after state is set
	state  error         // of cmd.Wait
}

// Start starts cmd and appends its stdout and stderr to the file log. It
// starts the process from the calling thread, so that a thread that entered
// a network namespace passes it on.
func Start(cmd *exec.Cmd, log string) (*Daemon, error) {
	out, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the log of %s: %w", filepath.Base(cmd.Path), err)
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	d := &Daemon{name: filepath.Base(cmd.Path), log: log, cmd: cmd, exited: make(chan struct{})}
	go func() {
		d.state = cmd.Wait()
		close(d.exited)
	}()
	return d, nil
}

// PID is the process ID. It stays the same after the process is gone.
func (d *Daemon) PID() int { return d.cmd.Process.Pid }

// Exited is closed when the process is gone.
func (d *Daemon) Exited() <-chan struct{} { return d.exited }

// Signal sends sig to the process. If it is gone, the error is os.ErrProcessDone.
func (d *Daemon) Signal(sig os.Signal) error {
	if err := d.cmd.Process.Signal(sig); err != nil {
		return fmt.Errorf("send %v to %s: %w", sig, d.name, err)
	}
	return nil
}

// Until asks ready again and again until it returns nil. It fails when the
// process exits (ErrExited) or ctx ends, in both cases with ready's last
// answer and the end of the log.
func (d *Daemon) Until(ctx context.Context, ready func(context.Context) error) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		answer := ready(ctx)
		if answer == nil {
			return nil
		}
		select {
		case <-d.exited:
			return d.notReady(fmt.Errorf("%w (%v)", ErrExited, d.state), answer)
		case <-ctx.Done():
			return d.notReady(ctx.Err(), answer)
		case <-tick.C:
		}
	}
}

func (d *Daemon) notReady(why, answer error) error {
	return fmt.Errorf("%s is not ready: %w; it last answered: %v; the end of its log:\n%s",
		d.name, why, answer, Tail(d.log, tailLines))
}

// Stop asks the process to end (SIGTERM) and waits. When ctx ends first it
// kills the process and returns an error. A process that is gone already is
// no error.
func (d *Daemon) Stop(ctx context.Context) error {
	if err := d.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-d.exited:
		return nil
	case <-ctx.Done():
	}
	if err := d.Kill(); err != nil {
		return err
	}
	return fmt.Errorf("%s had to be killed, it did not end on SIGTERM: %w; the end of its log:\n%s",
		d.name, ctx.Err(), Tail(d.log, tailLines))
}

// Kill ends the process without asking (SIGKILL) and waits.
func (d *Daemon) Kill() error {
	if err := d.Signal(os.Kill); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-d.exited
	return nil
}

// Tail is the last lines of a log, for an error message.
func Tail(log string, lines int) string {
	content, err := os.ReadFile(log)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimSpace(string(content)), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
