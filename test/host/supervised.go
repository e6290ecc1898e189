package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/quaymaster/quaymaster/test/daemon"
	"github.com/quaymaster/quaymaster/test/supervisor"
)

// SuperviseAgent runs the agent as its units have systemd do it, and waits until
// it is ready: its sockets are listened at while no agent lives, what it asks to
// be kept is given to the next one, and an agent that ends is followed by
// another. StopAgent ends all of that. The agent lives in the machine's network,
// and KillAgent, SignalAgent and AgentPID are the Supervisor's affair.
func (h *Host) SuperviseAgent(ctx context.Context) (*supervisor.Supervisor, error) {
	if h.Namespace != nil {
		return nil, errors.New("a supervised agent lives in the machine's network")
	}
	if err := os.MkdirAll(h.run, 0o711); err != nil {
		return nil, fmt.Errorf("make the agent's run directory: %w", err)
	}
	s, err := supervisor.Start(supervisor.Options{
		Command: h.agentCommand(), Environment: h.environment(), Sockets: h.sockets(), Dir: h.dir, Log: h.LogFile(),
	})
	if err != nil {
		return nil, err
	}
	h.supervisor = s
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return s, s.Ready(ctx)
}

// ActivateAgent has systemd's own program listen at the agent's sockets, and
// start it when the first of them is asked (systemd-socket-activate(1)). Then
// that program is the agent, and StopAgent ends it.
func (h *Host) ActivateAgent(ctx context.Context) error {
	if err := os.MkdirAll(h.run, 0o711); err != nil {
		return fmt.Errorf("make the agent's run directory: %w", err)
	}
	var args, names []string
	for _, socket := range h.sockets() {
		names, args = append(names, socket.Name), append(args, "--listen="+socket.Path)
	}
	args = append(args, "--fdname="+strings.Join(names, ":"))
	for _, variable := range h.environment() {
		args = append(args, "--setenv="+variable)
	}
	var err error
	h.agent, err = daemon.Start(exec.Command("systemd-socket-activate", append(args, h.agentCommand()...)...), h.LogFile())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return h.agent.Until(ctx, func(context.Context) error {
		for _, socket := range h.sockets() {
			if _, err := os.Stat(socket.Path); err != nil {
				return err
			}
		}
		return nil
	})
}

// sockets are those of the units in packaging/systemd.
func (h *Host) sockets() []supervisor.Socket {
	return []supervisor.Socket{
		{Name: "runtime", Path: filepath.Join(h.run, "runtime.sock")},
		{Name: "agent", Path: filepath.Join(h.run, "agent.sock")},
		{Name: "plugin", Path: filepath.Join("/run/docker/plugins", h.Plugin()+".sock")},
	}
}
