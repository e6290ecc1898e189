package memfs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Options of the memory filesystem.
type Options struct {
	// AllowSwap lets the filesystem be used although the kernel may write its
	// pages to a swap device.
	AllowSwap bool
}

// mountFlags: nothing in a tree is ever executed, a device, or set-user-ID.
const mountFlags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC

// Mount makes dir a memory filesystem of the agent's own, or takes over the
// one that an earlier agent, or a systemd mount unit, left there. Mode 0711:
// a container in a user namespace must pass through it to its tree, and nobody
// needs to list it.
func Mount(dir string, o Options) error {
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return fmt.Errorf("make the directory for the memory filesystem: %w", err)
	}
	mounted, err := isMountPoint(dir)
	if err != nil {
		return err
	}
	if !mounted {
		if err := mountTmpfs(dir); err != nil {
			return err
		}
	}
	if err := checkMount(dir); err != nil {
		return err
	}
	if o.AllowSwap {
		return nil
	}
	return checkSwap(dir)
}

// Unmount takes the filesystem away with everything on it.
func Unmount(dir string) error {
	if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
		return fmt.Errorf("unmount %s: %w", dir, err)
	}
	return nil
}

// mountTmpfs asks for a filesystem that is never swapped, which Linux has since
// 6.4; an older kernel refuses the option, and gets a plain one.
func mountTmpfs(dir string) error {
	err := unix.Mount("quaymaster", dir, "tmpfs", mountFlags, "mode=0711,noswap")
	if errors.Is(err, unix.EINVAL) {
		err = unix.Mount("quaymaster", dir, "tmpfs", mountFlags, "mode=0711")
	}
	if errors.Is(err, unix.EPERM) {
		return fmt.Errorf("mount a tmpfs at %s: %w: start the agent as root, or let a systemd mount unit mount it", dir, err)
	}
	if err != nil {
		return fmt.Errorf("mount a tmpfs at %s: %w", dir, err)
	}
	return nil
}

func isMountPoint(dir string) (bool, error) {
	var own, parent unix.Stat_t
	if err := unix.Stat(dir, &own); err != nil {
		return false, fmt.Errorf("look at %s: %w", dir, err)
	}
	if err := unix.Stat(filepath.Dir(dir), &parent); err != nil {
		return false, fmt.Errorf("look at %s: %w", filepath.Dir(dir), err)
	}
	return own.Dev != parent.Dev, nil
}

func checkMount(dir string) error {
	if err := inMemory(dir); err != nil {
		return err
	}
	var stat unix.Statfs_t
	if err := unix.Statfs(dir, &stat); err != nil {
		return fmt.Errorf("look at the filesystem of %s: %w", dir, err)
	}
	if stat.Flags&mountFlags != mountFlags { // the ST_ flags of statfs are numbered as the MS_ flags of mount
		return fmt.Errorf("%s is mounted without nosuid, nodev and noexec: unmount it, or add them where it is mounted", dir)
	}
	return nil
}

// SwapIsOn reports whether the kernel has a device that it may write memory to.
func SwapIsOn() (bool, error) {
	swaps, err := os.ReadFile("/proc/swaps")
	if err != nil {
		return false, fmt.Errorf("find out whether swap is on: %w", err)
	}
	return len(strings.Split(strings.TrimSpace(string(swaps)), "\n")) > 1, nil // the first line is the heading
}

// checkSwap refuses a filesystem whose pages could reach a swap device.
func checkSwap(dir string) error {
	if on, err := SwapIsOn(); err != nil || !on {
		return err
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return fmt.Errorf("find out how %s is mounted: %w", dir, err)
	}
	if neverSwapped(string(mounts), dir) {
		return nil
	}
	return fmt.Errorf("swap is on, and the memory filesystem at %s could be written to it: "+
		"switch swap off (swapoff -a), use Linux 6.4 or later, or accept it with allow_swap: true", dir)
}

// neverSwapped looks for the option noswap of the last filesystem mounted at
// dir (proc_pid_mountinfo(5): the fifth field is the mount point, the last the
// options of the filesystem).
func neverSwapped(mountinfo, dir string) bool {
	found := false
	for line := range strings.Lines(mountinfo) {
		fields := strings.Fields(line)
		if len(fields) < 10 || fields[4] != dir {
			continue
		}
		found = false
		for option := range strings.SplitSeq(fields[len(fields)-1], ",") {
			found = found || option == "noswap"
		}
	}
	return found
}
