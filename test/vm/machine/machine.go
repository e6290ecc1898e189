// Package machine boots virtual machines under qemu for tests: from a disk that
// was baked once, as an instance of a cloud, with nothing of the network but
// the stand-ins that it is given.
//
// A Machine is one qemu process. What it writes goes to a file that is gone
// with it, so any number of them boot from one disk, and a reboot inside keeps
// what was written. Its firmware says whose instance it is (Identity), its
// network card leads a few addresses to loopback (Forward) and drops the rest,
// its serial console is written to a file, and commands run in it through
// QEMU's guest agent, which works whether or not its network does.
package machine

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/quaymaster/quaymaster/test/daemon"
)

// Image is what machines boot from: see test/vm/bake.sh.
type Image struct{ Dir string }

// Identity is what the firmware says: arguments of qemu's -smbios.
type Identity []string

// MAC is the address of a machine's one network card.
const MAC = "0a:ff:c0:00:00:10"

// Forward leads an address of the machine's network to one of loopback. Both are
// host:port.
type Forward struct{ Guest, Host string }

// Options of a Machine.
type Options struct {
	Image    Image
	Identity Identity
	// Forwards lie in 169.254.0.0/16, where clouds have their metadata.
	Forwards []Forward
	// Seed is a directory with meta-data and user-data for cloud-init's own
	// NoCloud datasource; empty: none.
	Seed string
	// Accelerators are tried in their order: "kvm", "tcg".
	Accelerator string
	// Console is where the serial console's output is kept.
	Console string
}

// Machine is a running machine. Its methods must not be called concurrently.
type Machine struct {
	qemu    *daemon.Daemon
	agent   *agent
	dir     string
	console string
	booted  time.Time
}

// Start starts a machine. It does not wait for the boot: see Run.
func Start(o Options) (*Machine, error) {
	dir, err := os.MkdirTemp("", "qm-vm-") // short: a socket's path is in it
	if err != nil {
		return nil, fmt.Errorf("make the machine's directory: %w", err)
	}
	m := &Machine{dir: dir, console: o.Console, agent: &agent{path: filepath.Join(dir, "agent.sock")}, booted: time.Now()}
	command := exec.Command("qemu-system-x86_64", o.arguments(m.agent.path)...)
	command.Env = append(os.Environ(), "TMPDIR=/var/tmp") // for what the machine writes
	if m.qemu, err = daemon.Start(command, filepath.Join(dir, "qemu.log")); err != nil {
		os.RemoveAll(dir)
		return nil, err
	}
	return m, nil
}

// arguments are qemu's. The console has systemd's messages, because the kernel
// is told of it; cloud-init and the agent's doctor write there as well.
func (o Options) arguments(agent string) []string {
	accelerator := o.Accelerator
	if accelerator == "tcg" {
		accelerator = "tcg,thread=multi"
	}
	network := "user,id=net,restrict=on,ipv6=off,net=169.254.0.0/16,host=169.254.0.2,dns=169.254.0.3,dhcpstart=169.254.0.15"
	for _, f := range o.Forwards {
		host, port, _ := strings.Cut(f.Host, ":")
		network += fmt.Sprintf(",guestfwd=tcp:%s-cmd:nc %s %s", f.Guest, host, port)
	}
	arguments := []string{
		"-accel", accelerator, "-cpu", "max", "-smp", "2", "-m", "1536", "-nodefaults", "-no-user-config", "-display", "none",
		"-kernel", filepath.Join(o.Image.Dir, "vmlinuz"), "-initrd", filepath.Join(o.Image.Dir, "initrd"),
		"-append", "root=/dev/vda rw console=ttyS0 systemd.show_status=true",
		"-drive", "if=virtio,format=raw,snapshot=on,file=" + filepath.Join(o.Image.Dir, "disk.raw"),
		"-serial", "file:" + o.Console,
		"-netdev", network, "-device", "virtio-net-pci,netdev=net,mac=" + MAC,
		"-device", "virtio-rng-pci", "-device", "virtio-serial-pci",
		"-chardev", "socket,id=agent,server=on,wait=off,path=" + agent,
		"-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0",
	}
	for _, table := range o.Identity {
		arguments = append(arguments, "-smbios", table)
	}
	if o.Seed != "" {
		arguments = append(arguments, "-drive", "if=virtio,format=raw,read-only=on,file.driver=vvfat,file.label=cidata,file.dir="+o.Seed)
	}
	return arguments
}

// Accelerator is "kvm" where a machine really runs with it, else "tcg". That
// /dev/kvm can be opened says little: where virtual machines are nested, the
// first instruction may never end. So the kernel of the image has two seconds to
// say a word.
func Accelerator(ctx context.Context, image Image) string {
	dir, err := os.MkdirTemp("", "qm-vm-")
	if err != nil {
		return "tcg"
	}
	defer os.RemoveAll(dir)
	console := filepath.Join(dir, "console")
	probe, err := daemon.Start(exec.Command("qemu-system-x86_64", "-accel", "kvm", "-cpu", "host", "-m", "512", "-nodefaults", "-display", "none", "-no-reboot",
		"-kernel", filepath.Join(image.Dir, "vmlinuz"), "-append", "console=ttyS0 panic=-1", "-serial", "file:"+console), filepath.Join(dir, "qemu.log"))
	if err != nil {
		return "tcg"
	}
	defer probe.Kill()
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	err = probe.Until(ctx, func(context.Context) error {
		if said, _ := os.ReadFile(console); !strings.Contains(string(said), "Run /") && !strings.Contains(string(said), "Kernel panic") {
			return fmt.Errorf("the kernel has not come to its end of the boot")
		}
		return nil
	})
	if err != nil {
		return "tcg"
	}
	return "kvm"
}

// Console is what the machine wrote to its serial console so far, over all its
// boots.
func (m *Machine) Console() string {
	said, _ := os.ReadFile(m.console) // nothing yet is nothing said
	return string(said)
}

// SinceBoot is how long ago the machine was started, or last rebooted.
func (m *Machine) SinceBoot() time.Duration { return time.Since(m.booted) }

// Remove ends the machine without asking it.
func (m *Machine) Remove() error {
	m.agent.close()
	if err := m.qemu.Kill(); err != nil {
		return err
	}
	return os.RemoveAll(m.dir)
}
