package machine

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"time"
)

// agent speaks with QEMU's guest agent ("QEMU Guest Agent Protocol Reference").
// It answers one question after the other; what it was asked before a reboot it
// never answers, so each conversation begins with a number that it must repeat.
type agent struct {
	path    string
	conn    net.Conn
	answers *bufio.Reader
	inStep  bool
}

// replyTime bounds one answer. A guest that is slow answers later all the same;
// one whose agent does not run yet, never.
const replyTime = 20 * time.Second

// ErrDeaf says that nobody in the machine answers (yet, or while it reboots).
var ErrDeaf = errors.New("the guest agent does not answer")

// ask sends one command and decodes what it returned.
func (a *agent) ask(ctx context.Context, command string, arguments, result any) error {
	if err := a.sync(ctx); err != nil {
		return err
	}
	err := a.exchange(ctx, command, arguments, result)
	if errors.Is(err, ErrDeaf) {
		a.inStep = false
	}
	return err
}

// sync brings both sides into step, once.
func (a *agent) sync(ctx context.Context) error {
	if a.inStep {
		return nil
	}
	a.close()
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", a.path)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDeaf, err)
	}
	a.conn, a.answers = conn, bufio.NewReader(conn)
	// A byte that no JSON has makes the agent forget half a command.
	if _, err := conn.Write([]byte{0xff}); err != nil {
		return fmt.Errorf("%w: %w", ErrDeaf, err)
	}
	// Asked once, whatever is answered before: each question more would leave an
	// answer behind, to be taken for that of the next command.
	number := rand.Int32()
	if err := a.send(ctx, "guest-sync", map[string]any{"id": number}); err != nil {
		return err
	}
	for {
		var got int32
		err := a.receive("guest-sync", &got)
		if err == nil && got == number {
			a.inStep = true
			return nil
		}
		if errors.Is(err, ErrDeaf) {
			return err
		}
	}
}

func (a *agent) exchange(ctx context.Context, command string, arguments, result any) error {
	if err := a.send(ctx, command, arguments); err != nil {
		return err
	}
	return a.receive(command, result)
}

// send sends a command, and bounds the time of its answer.
func (a *agent) send(ctx context.Context, command string, arguments any) error {
	question := map[string]any{"execute": command}
	if arguments != nil {
		question["arguments"] = arguments
	}
	line, err := json.Marshal(question)
	if err != nil {
		return fmt.Errorf("write the command %s: %w", command, err)
	}
	deadline := time.Now().Add(replyTime)
	if end, bounded := ctx.Deadline(); bounded && end.Before(deadline) {
		deadline = end
	}
	if err := a.conn.SetDeadline(deadline); err != nil {
		return fmt.Errorf("%w: %w", ErrDeaf, err)
	}
	if _, err := a.conn.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("%w: %w", ErrDeaf, err)
	}
	return nil
}

// receive decodes the next answer.
func (a *agent) receive(command string, result any) error {
	text, err := a.answers.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("%w: %s: %w", ErrDeaf, command, err)
	}
	var answer struct {
		Return json.RawMessage
		Error  *struct{ Desc string }
	}
	if err := json.Unmarshal(text[lastMark(text):], &answer); err != nil {
		return fmt.Errorf("read the answer to %s: %w", command, err)
	}
	if answer.Error != nil {
		return fmt.Errorf("the guest agent refuses %s: %s", command, answer.Error.Desc)
	}
	return json.Unmarshal(answer.Return, result)
}

// lastMark is where an answer begins after bytes that no JSON has.
func lastMark(text []byte) int {
	for i := len(text) - 1; i >= 0; i-- {
		if text[i] == 0xff {
			return i + 1
		}
	}
	return 0
}

func (a *agent) close() {
	if a.conn != nil {
		a.conn.Close()
		a.conn = nil
	}
	a.inStep = false
}

// Output is what a command in the machine came to.
type Output struct {
	Code           int
	Stdout, Stderr string
}

// Run runs a script of the shell as root in the machine and waits for its end.
// The error is about the machine, not the script: ErrDeaf while it boots.
func (m *Machine) Run(ctx context.Context, script string) (Output, error) {
	var started struct{ PID int }
	err := m.agent.ask(ctx, "guest-exec", map[string]any{
		"path": "/bin/bash", "arg": []string{"-c", script}, "capture-output": true,
		"env": []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C"},
	}, &started)
	if err != nil {
		return Output{}, err
	}
	for {
		var status struct {
			Exited           bool
			ExitCode, Signal int
			OutData, ErrData string
		}
		raw := map[string]json.RawMessage{}
		if err := m.agent.ask(ctx, "guest-exec-status", map[string]any{"pid": started.PID}, &raw); err != nil {
			return Output{}, err
		}
		for name, to := range map[string]any{"exited": &status.Exited, "exitcode": &status.ExitCode, "signal": &status.Signal,
			"out-data": &status.OutData, "err-data": &status.ErrData} {
			if value, there := raw[name]; there {
				if err := json.Unmarshal(value, to); err != nil {
					return Output{}, fmt.Errorf("read what a command came to: %w", err)
				}
			}
		}
		if status.Exited {
			stdout, _ := base64.StdEncoding.DecodeString(status.OutData)
			stderr, _ := base64.StdEncoding.DecodeString(status.ErrData)
			return Output{Code: status.ExitCode + 128*min(status.Signal, 1), Stdout: strings.TrimSpace(string(stdout)), Stderr: strings.TrimSpace(string(stderr))}, nil
		}
		select {
		case <-ctx.Done():
			return Output{}, fmt.Errorf("%w: a command in the machine goes on: %s", ctx.Err(), script)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// Reboot has the machine reboot and waits until the next boot answers.
func (m *Machine) Reboot(ctx context.Context) error {
	const bootID = "cat /proc/sys/kernel/random/boot_id"
	before, err := m.Run(ctx, bootID)
	if err != nil {
		return err
	}
	// The agent ends while it answers, as likely as not.
	if _, err := m.Run(ctx, "systemctl --no-block reboot"); err != nil && !errors.Is(err, ErrDeaf) {
		return err
	}
	m.booted = time.Now()
	return m.qemu.Until(ctx, func(ctx context.Context) error {
		now, err := m.Run(ctx, bootID)
		if err == nil && now.Stdout == before.Stdout {
			m.booted = time.Now()
			return errors.New("it has not gone down yet")
		}
		return err
	})
}

// Until asks ready again and again until it returns nil; see daemon.Until.
func (m *Machine) Until(ctx context.Context, ready func(context.Context) error) error {
	return m.qemu.Until(ctx, ready)
}
