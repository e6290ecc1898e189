package cloudsim

import (
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"syscall"
)

// LinkLocal is where all clouds have their metadata service, for
// Options.Address in a process that HoldLinkLocal has prepared.
const LinkLocal = "169.254.169.254:80"

// firmware is where Linux shows what the machine's firmware says.
const firmware = "/sys/class/dmi/id"

// Isolate makes a command run in network and mount namespaces of its own, which
// takes root. Nothing answers there, and nothing can be reached.
func Isolate(command *exec.Cmd) {
	command.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS}
}

// HoldLinkLocal gives an isolated process the link-local address, and hides
// from it the firmware of the machine that it really runs on, which may be in
// another cloud than the stand-in's.
func HoldLinkLocal() error {
	for _, args := range [][]string{{"link", "set", "lo", "up"}, {"address", "add", "169.254.169.254/32", "dev", "lo"}} {
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %v: %w: %s", args, err, out)
		}
	}
	if err := syscall.Mount("none", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("keeping mounts to this process: %w", err)
	}
	if err := syscall.Mount("none", firmware, "tmpfs", 0, "size=4k"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("hiding %s: %w", firmware, err)
	}
	return nil
}
