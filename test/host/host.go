// Package host puts a whole Docker host together for the tests, the benchmark
// and the demo: the cloud around it (stand-ins for AWS's metadata service and
// STS), a Vault, a private Docker Engine, and on it the two programs that ship,
// as they ship: the agent runs as a process of its own, installed by its own
// command.
//
// Everything lies below one directory and ends with Remove.
package host

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/quaymaster/quaymaster/internal/cloudsim"
	"github.com/quaymaster/quaymaster/internal/cloudsim/awssim"
	"github.com/quaymaster/quaymaster/test/daemon"
	"github.com/quaymaster/quaymaster/test/engine"
	"github.com/quaymaster/quaymaster/test/netns"
	"github.com/quaymaster/quaymaster/test/supervisor"
)

// What the stand-in of AWS tells about the host, and how Vault knows it.
const (
	Account  = "123456789012"
	Instance = "i-0abc1234def567890"
	Region   = "eu-west-1"
	Role     = "docker-host" // in AWS and in Vault
	ServerID = "vault.quaymaster.test"
)

// Principal is the role as Vault binds it.
const Principal = "arn:aws:iam::" + Account + ":role/" + Role

// Runtime is what the runtime gate is called in daemon.json.
const Runtime = "quaymaster"

// patience bounds what a test waits for at most; nothing takes that long.
const patience = 30 * time.Second

// Vault is where the host's secrets live: a real server, or a stand-in.
type Vault interface {
	// What it is, for people.
	Name() string
	Address() string
	// CAFile is the authority to trust; empty when it speaks plain HTTP.
	CAFile() string
	// Bind lets the AWS role log in; sts is where Vault asks who signed.
	Bind(ctx context.Context, sts string) error
	// PutSecret writes kv/<name>, version 2, or kv1/<name>, version 1.
	PutSecret(ctx context.Context, mount, name string, fields map[string]any) error
	Remove(ctx context.Context) error
}

// Host is one Docker host.
type Host struct {
	dir    string
	run    string // the agent's paths.run
	Vault  Vault
	Engine *engine.Engine
	AWS    *awssim.Account
	IMDS   *awssim.IMDS
	STS    *awssim.Service
	// Environment is added to that of the next agent, as "name=value".
	Environment []string
	// Namespace is the network that the next agent lives in; nil: the machine's.
	Namespace *netns.Namespace

	imds, sts  *cloudsim.Server
	bin        string
	agent      *daemon.Daemon
	supervisor *supervisor.Supervisor // nil: the agent was started plainly
}

// Options of a Host.
type Options struct {
	Vault  Vault // belongs to the Host from now on
	Engine engine.Options
	// Run is the agent's run directory, to be removed by the caller; empty
	// means one of the Host's own.
	Run string
}

// Start brings up the cloud, binds the host's role in Vault, and starts the
// engine. The agent is not installed yet.
func Start(ctx context.Context, o Options) (_ *Host, err error) {
	h := &Host{Vault: o.Vault}
	defer func() {
		if err != nil {
			err = errors.Join(err, h.Remove(context.WithoutCancel(ctx)))
		}
	}()
	if h.bin, err = Binaries(); err != nil {
		return nil, err
	}
	if h.dir, err = os.MkdirTemp("/var/tmp", "quaymaster-host-"); err != nil {
		return nil, fmt.Errorf("make the host's directory: %w", err)
	}
	if err = os.Chmod(h.dir, 0o711); err != nil { // a remapped root must pass
		return nil, err
	}
	h.run = cmp.Or(o.Run, h.file("run"))
	if err = h.startCloud(); err != nil {
		return nil, err
	}
	if err = h.Vault.Bind(ctx, h.sts.URL()); err != nil {
		return nil, err
	}
	o.Engine.Shared, o.Engine.CDIDir = h.dir, h.CDIDir() // the agent's tmpfs will be in it
	if h.Engine, err = engine.Start(ctx, o.Engine); err != nil {
		return nil, err
	}
	return h, errors.Join(h.Engine.ImportBusybox(ctx), h.Engine.ImportProbe(ctx))
}

// Binaries is the directory of what make build has built.
func Binaries() (string, error) {
	dir := os.Getenv("QUAYMASTER_BIN")
	if dir == "" {
		self, err := os.Executable()
		if err != nil {
			return "", err
		}
		dir = filepath.Dir(self) // the demo and the benchmark stand beside them
	}
	for _, name := range []string{"quaymaster", "quaymaster-runtime"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			return "", fmt.Errorf("%w: run `make build`, and set QUAYMASTER_BIN to its bin directory", err)
		}
	}
	return dir, nil
}

func (h *Host) startCloud() (err error) {
	environment := cloudsim.NewEnvironment(nil, nil)
	h.AWS = awssim.NewAccount(Account, environment)
	h.AWS.AddRole("/", Role)
	h.AWS.AddRole("/", "another-role")
	h.IMDS = awssim.NewIMDS(h.AWS, awssim.Instance{ID: Instance, Region: Region, AvailabilityZone: Region + "a", Role: Role})
	h.STS = awssim.NewSTS(h.AWS, "us-east-1")
	if h.imds, err = cloudsim.Start(h.IMDS, cloudsim.Options{}); err != nil {
		return err
	}
	h.sts, err = cloudsim.Start(h.STS, cloudsim.Options{})
	return err
}

// ConfigFile is the agent's configuration.
func (h *Host) ConfigFile() string { return h.file("quaymaster.yaml") }

// AuditFile is where the agent records decisions.
func (h *Host) AuditFile() string { return h.file("audit.jsonl") }

// LogFile is where the agent's stderr goes.
func (h *Host) LogFile() string { return h.file("agent.log") }

// Trees is the directory that the containers' trees are in.
func (h *Host) Trees() string { return filepath.Join(h.run, "memory/trees") }

func (h *Host) file(name string) string { return filepath.Join(h.dir, name) }

// Configure writes the agent's configuration: how to reach Vault, unless the
// caller names stores, how to reach the engine, and more as the caller says, in
// YAML.
func (h *Host) Configure(more string) error {
	var b bytes.Buffer
	if !hasKey(more, "vault") && !hasKey(more, "providers") {
		fmt.Fprintf(&b, "vault: {address: %q, role: %s, server_id: %s", h.Vault.Address(), Role, ServerID)
		if ca := h.Vault.CAFile(); ca != "" {
			fmt.Fprintf(&b, ", ca_file: %q", ca)
		}
		b.WriteString("}\n")
	}
	if !hasKey(more, "docker") {
		fmt.Fprintf(&b, "docker: {host: %q, plugin: %q, cdi_dir: %q}\n", h.Engine.Host(), h.Plugin(), h.CDIDir())
	}
	fmt.Fprintf(&b, "paths: {run: %q, state: %q}\naudit: {file: %q}\n%s\n",
		h.run, h.StateDir(), h.AuditFile(), more)
	if err := os.WriteFile(h.ConfigFile(), b.Bytes(), 0o600); err != nil {
		return fmt.Errorf("write the agent's configuration: %w", err)
	}
	return nil
}

// Plugin is what the agent's volume and secret driver is called. The engine looks
// for drivers in one directory for the whole machine, so each host has its own.
func (h *Host) Plugin() string { return filepath.Base(h.dir) }

// CDIDir is where the agent writes its CDI devices.
func (h *Host) CDIDir() string { return h.file("cdi") }

// hasKey reports whether YAML has a key at its top level.
func hasKey(yaml, key string) bool { return strings.Contains("\n"+yaml, "\n"+key+":") }

// environment is that of the agent, and of the commands.
func (h *Host) environment() []string {
	return append(append(os.Environ(), "AWS_EC2_METADATA_SERVICE_ENDPOINT="+h.imds.URL()), h.Environment...)
}

// Quaymaster runs one of the program's commands to its end, in the environment
// of the agent.
func (h *Host) Quaymaster(ctx context.Context, args ...string) (stdout, stderr string, err error) {
	command := exec.CommandContext(ctx, filepath.Join(h.bin, "quaymaster"), args...)
	command.Env = h.environment()
	var out, talk bytes.Buffer
	command.Stdout, command.Stderr = &out, &talk
	if err = h.Namespace.Do(command.Run); err != nil {
		err = fmt.Errorf("quaymaster %s: %w: %s", strings.Join(args, " "), err, talk.String())
	}
	return out.String(), talk.String(), err
}

// Install puts the runtime gate into the engine's daemon.json, as an operator
// does, and waits until the engine knows it.
func (h *Host) Install(ctx context.Context, more ...string) (stdout string, err error) {
	args := []string{"install", "docker-runtime", "--config", h.ConfigFile(),
		"--daemon-config", h.Engine.ConfigFile(), "--pid-file", h.Engine.PidFile()}
	stdout, _, err = h.Quaymaster(ctx, append(args, more...)...)
	return stdout, err
}

// StateDir is where the agent keeps what it may keep on a disk.
func (h *Host) StateDir() string { return h.file("state") }

func (h *Host) agentCommand() []string {
	return []string{filepath.Join(h.bin, "quaymaster"), "agent", "--config", h.ConfigFile()}
}

// StartAgent starts the agent and waits until its gate is open.
func (h *Host) StartAgent(ctx context.Context) error {
	args := h.agentCommand()
	command := exec.Command(args[0], args[1:]...)
	command.Env = h.environment()
	offset := len(h.Log())
	err := h.Namespace.Do(func() (err error) {
		h.agent, err = daemon.Start(command, h.LogFile())
		return err
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return h.agent.Until(ctx, func(context.Context) error {
		if !strings.Contains(h.Log()[offset:], "agent runs") {
			return errors.New("it has not said that it runs")
		}
		_, err := os.Stat(filepath.Join(h.run, "runtime.sock"))
		return err
	})
}

// StopAgent ends the agent as systemd does, and its supervisor if it has one.
func (h *Host) StopAgent(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if running := h.supervisor; running != nil {
		h.supervisor = nil
		return running.Stop(ctx)
	}
	if h.agent == nil {
		return nil
	}
	return h.agent.Stop(ctx)
}

// KillAgent ends the agent without a word.
func (h *Host) KillAgent() error { return h.agent.Kill() }

// SignalAgent sends a signal, SIGSTOP for one.
func (h *Host) SignalAgent(signal syscall.Signal) error { return h.agent.Signal(signal) }

// AgentRuns says whether the agent's process is there, if only stopped.
func (h *Host) AgentRuns() bool {
	select {
	case <-h.agent.Exited():
		return false
	default:
		return true
	}
}

// AgentPID is the agent's process.
func (h *Host) AgentPID() int { return h.agent.PID() }

// Log is what the agent has said so far, over all of its starts.
func (h *Host) Log() string {
	content, _ := os.ReadFile(h.LogFile()) // none yet is nothing said
	return string(content)
}

// Audit is the audit log.
func (h *Host) Audit() string {
	content, _ := os.ReadFile(h.AuditFile()) // none yet is nothing recorded
	return string(content)
}

// Await asks again and again until ready says yes; the error names what it
// waited for.
func (h *Host) Await(ctx context.Context, what string, ready func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ready() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("waited in vain for %s; the agent's log ends with:\n%s", what, daemon.Tail(h.LogFile(), 30))
		case <-tick.C:
		}
	}
	return nil
}

// ForgetMemory takes away what the agent keeps in memory, as a reboot does. The
// agent must have ended.
func (h *Host) ForgetMemory() error {
	var errs []error
	for _, mounted := range []string{"view", "memory"} {
		if err := syscall.Unmount(filepath.Join(h.run, mounted), syscall.MNT_DETACH); err != nil &&
			!errors.Is(err, syscall.EINVAL) && !errors.Is(err, syscall.ENOENT) { // neither mounted nor there
			errs = append(errs, fmt.Errorf("unmount the trees: %w", err))
		}
	}
	return errors.Join(errs...)
}

// Remove ends everything and leaves nothing behind.
func (h *Host) Remove(ctx context.Context) error {
	var errs []error
	errs = append(errs, h.StopAgent(ctx))
	if h.Engine != nil {
		errs = append(errs, h.Engine.Remove(ctx))
	}
	for _, server := range []*cloudsim.Server{h.imds, h.sts} {
		if server != nil {
			errs = append(errs, server.Close())
		}
	}
	errs = append(errs, h.Vault.Remove(ctx))
	if h.dir != "" {
		errs = append(errs, h.ForgetMemory(), os.RemoveAll(h.dir))
	}
	return errors.Join(errs...)
}
