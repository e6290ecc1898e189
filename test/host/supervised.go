package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

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
		Command: h.agentCommand(), Environment: h.agentEnvironment(), Sockets: h.sockets(), Dir: h.dir, Log: h.LogFile(),
	})
	if err != nil {
		return nil, err
	}
	h.supervisor = s
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return s, s.Ready(ctx)
}

// sockets are those of the units in packaging/systemd.
func (h *Host) sockets() []supervisor.Socket {
	return []supervisor.Socket{
		{Name: "runtime", Path: filepath.Join(h.run, "runtime.sock")},
		{Name: "agent", Path: filepath.Join(h.run, "agent.sock")},
		{Name: "plugin", Path: filepath.Join("/run/docker/plugins", h.Plugin()+".sock")},
	}
}
