package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/inject/memfs"
)

// memory says whether the trees are in memory.
func (d *doctor) memory(context.Context) finding {
	root := memoryRoot(d.config)
	state, err := memfs.Look(root)
	switch {
	case errors.Is(err, memfs.ErrNotMounted):
		return doubt("start the agent, which mounts it, or run-quaymaster-memory.mount", "%v", err)
	case errors.Is(err, fs.ErrPermission):
		return doubt("run it as root", "%v", err)
	case err != nil:
		return wrong("unmount what is there, and start the agent again", "%v", err)
	case state.Free < state.Size/10:
		return wrong("give it more room: mount -o remount,size=…, or size= in run-quaymaster-memory.mount", "%s is nearly full: %d of %d MiB are free", root, state.Free>>20, state.Size>>20)
	case state.NeverSwapped:
		return fine("%s is a tmpfs that is never swapped, of %d MiB", root, state.Size>>20)
	}
	return fine("%s is a tmpfs of %d MiB", root, state.Size>>20)
}

// swap says whether secrets could be written to a swap device.
func (d *doctor) swap(context.Context) finding {
	on, err := memfs.SwapIsOn()
	if err != nil {
		return doubt("run it on the host itself", "%v", err)
	}
	const remedy = "switch swap off (swapoff -a, and in /etc/fstab), or use Linux 6.4 or later"
	state, lookErr := memfs.Look(memoryRoot(d.config))
	switch {
	case !on:
		return fine("off")
	case lookErr == nil && state.NeverSwapped:
		return fine("on, and the memory filesystem is never swapped; what the agent itself holds is not handed on from agent to agent unless allow_swap is true")
	case d.config.AllowSwap:
		return doubt(remedy, "on, and secrets may be written to it: allow_swap is true")
	case errors.Is(lookErr, memfs.ErrNotMounted):
		return doubt(remedy, "on; whether the memory filesystem is kept from it shows when it is mounted")
	case lookErr != nil:
		return doubt("see memory", "on; the memory filesystem could not be looked at")
	}
	return wrong(remedy+", or accept it with allow_swap: true", "on, and the memory filesystem could be written to it: the agent does not start")
}

// audit says whether decisions can be recorded, without which nothing is
// delivered.
func (d *doctor) audit(context.Context) finding {
	file := d.config.Audit.File
	info, err := os.Lstat(file)
	if err == nil && !info.Mode().IsRegular() {
		return wrong("name a file of its own in audit.file", "%s is no plain file (%s)", file, info.Mode().Type())
	}
	target := file
	for errors.Is(err, fs.ErrNotExist) && target != "/" { // the agent makes what is missing
		target = filepath.Dir(target)
		_, err = os.Stat(target)
	}
	switch err := unix.Access(target, unix.W_OK); {
	case errors.Is(err, unix.EACCES) && os.Geteuid() != 0:
		return doubt("run it as root", "%s could not be looked at as this user", file)
	case err != nil:
		return wrong("make it writable: until then the agent delivers nothing", "%s cannot be written to: %v", file, err)
	}
	var stat unix.Statfs_t
	if err := unix.Statfs(target, &stat); err == nil && stat.Bavail == 0 && stat.Blocks > 0 {
		return wrong("make room there: until then the agent delivers nothing", "the disk of %s is full", file)
	}
	if info != nil && info.Mode().Perm()&0o022 != 0 {
		return doubt("chmod go-w "+file, "others than its owner can change %s (mode %04o)", file, info.Mode().Perm())
	}
	return fine("%s can be written to", file)
}

// state says whether the agent's own directories are its own.
func (d *doctor) state(context.Context) finding {
	for _, dir := range []struct {
		path    string
		forbids fs.FileMode
		mend    string
	}{{d.config.Paths.State, 0o077, "chmod 0700 "}, {d.config.Paths.Run, 0o022, "chmod 0711 "}} {
		info, err := os.Stat(dir.path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue // the agent makes it
		case errors.Is(err, fs.ErrPermission):
			return doubt("run it as root", "%v", err)
		case err != nil:
			return wrong("see what is wrong with the disk", "%v", err)
		case !info.IsDir():
			return wrong("move it away", "%s is not a directory", dir.path)
		case info.Mode().Perm()&dir.forbids != 0:
			return wrong(dir.mend+dir.path+", and see who has been there", "%s is open to others (mode %04o)", dir.path, info.Mode().Perm())
		}
		if owner := info.Sys().(*syscall.Stat_t).Uid; owner != 0 {
			return doubt("chown root "+dir.path+", if the agent runs as root", "%s belongs to user %d", dir.path, owner)
		}
	}
	return fine("%s and %s are the agent's own", d.config.Paths.State, d.config.Paths.Run)
}

// bootCache says whether the boot cache could be sealed and opened again, with a
// key that is made for it and thrown away.
func (d *doctor) bootCache(ctx context.Context) finding {
	if d.config.BootCache.Key == "" {
		return fine("none: no secret is ever kept on a disk")
	}
	name := d.config.BootCache.Key
	if os.Geteuid() != 0 {
		return doubt("run it as root", "its key %s could not be tried as this user", name)
	}
	host, err := machineID()
	if err != nil {
		return wrong("systemd-machine-id-setup", "%v", err)
	}
	sealer, err := openSealer(d.config, host)
	if err != nil {
		return wrong("correct boot_cache", "%s: %v", name, err)
	}
	switch err := sealAndOpen(ctx, sealer); {
	case errors.Is(err, auth.ErrSealRefused):
		return wrong("do what is said, or the agent runs without a boot cache", "%s: %v", name, err)
	case err != nil:
		return wrong("see why the key cannot be used just now; until then the agent runs without a boot cache", "%s: %v", name, err)
	}
	return fine("sealed with %s, and opened again", name)
}

func sealAndOpen(ctx context.Context, sealer auth.Sealer) error {
	key := make([]byte, 32)
	rand.Read(key) // never fails, says its documentation
	sealed, err := sealer.Seal(ctx, key)
	if err != nil {
		return err
	}
	opened, err := sealer.Unseal(ctx, sealed)
	if err != nil {
		return err
	}
	defer clear(opened)
	if !bytes.Equal(key, opened) {
		return fmt.Errorf("what was opened is not what was sealed: %w", auth.ErrNotSealedHere)
	}
	return nil
}
