package main

import (
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

// placedName is the note of a tree that runc was told to mount. Between create
// and start the container's first process waits with all mounts in place, and
// nothing of the container's has run: then it is looked at whether the tree
// lies where that process will look for it. runc follows the links of an image
// as it sees them itself, and a link through /proc means something else to it
// than to the container.
const placedName = "quaymaster-tree"

// placed is a tree and where it should be seen.
type placed struct {
	container string // how messages name it
	target    string // in the container
	source    string // the tree, on the host
	pidFile   string // where runc has written the number of the first process
}

func (p placed) encode(id string) []byte {
	return encodeNote(placedName, id, [][]string{{p.container, p.target, p.source, p.pidFile}})
}

// verify returns nil for a call that starts no container, for a container
// without a note, and for one that will see its tree. One that will not is
// ended: containerd's client deletes no task that still waits for its start
// (Task.Delete in 1.6), so that the engine would keep it, and never start it.
func (c call) verify(runc string, args []string) error {
	if c.command != "start" || c.id == "" {
		return nil
	}
	note := readNote(c.bundlePath(), placedName, c.id)
	if len(note) != 1 || len(note[0]) != 4 {
		return nil
	}
	p := placed{note[0][0], note[0][1], note[0][2], note[0][3]}
	err := p.look()
	if err == nil {
		return nil
	}
	err = because(p.container+" did not start", err)
	if left := p.end(runc, args); left != nil {
		err = failure(err.Error() + " (and its first process could not be ended: " + left.Error() + ")")
	}
	return err
}

// look compares what lies at the target with the tree. A number that is
// another process's by now leads to another root, where the tree does not lie:
// at worst a container that has ended already is refused.
func (p placed) look() error {
	var tree, found syscall.Stat_t
	if err := syscall.Lstat(p.source, &tree); err != nil {
		return because("its secrets were taken away again before it began; start it again ("+p.source+")", err)
	}
	root, err := p.openRoot()
	if err != nil {
		return because("what lies at "+p.target+" in it cannot be looked at", err)
	}
	defer syscall.Close(root)
	fd, err := openInRoot(root, p.target)
	if err == syscall.ENOSYS {
		return nil // before Linux 5.6 nobody can tell
	}
	if err != nil {
		return p.elsewhere(err.Error())
	}
	defer syscall.Close(fd)
	if err := syscall.Fstat(fd, &found); err != nil {
		return because("what lies at "+p.target+" in it cannot be looked at", err)
	}
	if found.Dev != tree.Dev || found.Ino != tree.Ino {
		return p.elsewhere("another directory is there")
	}
	return nil
}

func (p placed) elsewhere(detail string) error {
	return failure("what lies at " + p.target + " in it is not its secrets (" + detail + "): its image or a volume has a link there that leads elsewhere, " +
		"as through /proc; remove the link, or choose another directory with the label " + labelPrefix + "path")
}

// end has runc kill the first process, which knows it from others that have its
// number by now. It returns when the engine's shim has taken note.
func (p placed) end(runc string, args []string) error {
	command := len(args) - 1
	for command > 0 && args[command] != "start" {
		command--
	}
	kill := append([]string{runc}, args[:command]...)
	kill = append(kill, "kill", args[len(args)-1], "KILL")
	if err := runProgram(kill); err != nil {
		return err
	}
	pid, err := p.pid()
	for range 1000 {
		if err != nil || syscall.Kill(pid, 0) == syscall.ESRCH {
			break
		}
		time.Sleep(time.Millisecond)
	}
	return nil
}

// runProgram runs args[0] to its end.
func runProgram(args []string) error {
	child, err := syscall.ForkExec(args[0], args, &syscall.ProcAttr{Env: syscall.Environ(), Files: []uintptr{0, 1, 2}})
	if err != nil {
		return because("cannot execute "+args[0], err)
	}
	for {
		var status syscall.WaitStatus
		_, err := syscall.Wait4(child, &status, 0, nil)
		switch {
		case err == syscall.EINTR:
		case err != nil:
			return because("cannot wait for "+args[0], err)
		case status != 0:
			return failure(args[0] + " failed")
		default:
			return nil
		}
	}
}

const oPath = 0x200000 // O_PATH of asm-generic/fcntl.h

// pid is the number of the container's first process.
func (p placed) pid() (int, error) {
	text, err := readFile(p.pidFile)
	if err != nil {
		return 0, because("its first process is not known: "+p.pidFile, err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || pid <= 0 {
		return 0, failure("its first process is not known: no number in " + p.pidFile)
	}
	return pid, nil
}

// openRoot opens the root of the container's first process.
func (p placed) openRoot() (int, error) {
	pid, err := p.pid()
	if err != nil {
		return -1, err
	}
	name := "/proc/" + strconv.Itoa(pid) + "/root"
	fd, err := syscall.Open(name, oPath|syscall.O_DIRECTORY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return -1, because(name, err)
	}
	return fd, nil
}

// openInRoot is openat2(2), for a directory: it follows links as a process
// does whose root that is, but none of those of /proc that lead out of a path,
// which would lead this process elsewhere than that one.
func openInRoot(root int, target string) (int, error) {
	const (
		openat2 = 437 // on every architecture that numbers calls as asm-generic does since Linux 5.0
		noMagic = 2   // RESOLVE_NO_MAGICLINKS of linux/openat2.h
		inRoot  = 16  // RESOLVE_IN_ROOT
	)
	name, err := syscall.BytePtrFromString(target)
	if err != nil {
		return -1, err
	}
	how := struct{ flags, mode, resolve uint64 }{oPath | syscall.O_DIRECTORY | syscall.O_CLOEXEC, 0, inRoot | noMagic}
	for range 100 {
		fd, _, errno := syscall.Syscall6(openat2, uintptr(root), uintptr(unsafe.Pointer(name)), uintptr(unsafe.Pointer(&how)), unsafe.Sizeof(how), 0, 0)
		switch errno {
		case 0:
			return int(fd), nil
		case syscall.EAGAIN, syscall.EINTR: // something was renamed meanwhile, perhaps on the way
		default:
			return -1, errno
		}
	}
	return -1, syscall.EAGAIN
}
