package main

import (
	"runtime"
	"strconv"
	"syscall"
	"unsafe"
)

// memoryFile returns a path by which this process, and the runc that it
// becomes, can read text, which lies in memory only: a sealed memfd that is
// handed on through exec. runc closes it, or marks it so, before it starts the
// container's process (its utils.CloseExecFrom).
func memoryFile(text []byte) (path string, err error) {
	fd, err := memfdCreate("quaymaster-process")
	if err != nil {
		return "", because("cannot make a file in memory", err)
	}
	if err := writeAll(fd, text); err != nil {
		return "", because("cannot write to a file in memory", err)
	}
	const addSeals, allSeals = 1033, 0xf // F_ADD_SEALS; SEAL, SHRINK, GROW, WRITE of linux/fcntl.h
	if _, err := control(fd, addSeals, allSeals); err != nil {
		return "", because("cannot seal a file in memory", err)
	}
	// Away from the numbers that --preserve-fds hands to the container.
	const floor = 128
	if high, err := control(fd, syscall.F_DUPFD, floor); err == nil {
		syscall.Close(fd)
		fd = high
	}
	return "/proc/self/fd/" + strconv.Itoa(fd), nil
}

// memfdCreate is memfd_create(2), without close-on-exec. Linux 6.3 asks to be
// told that nobody will execute the file, which earlier ones refuse.
func memfdCreate(name string) (int, error) {
	const allowSealing, noexecSeal = 2, 8 // linux/memfd.h
	text, err := syscall.BytePtrFromString(name)
	if err != nil {
		return -1, err
	}
	fd, _, errno := syscall.Syscall(memfdCreateNumber(), uintptr(unsafe.Pointer(text)), allowSealing|noexecSeal, 0)
	if errno == syscall.EINVAL {
		fd, _, errno = syscall.Syscall(memfdCreateNumber(), uintptr(unsafe.Pointer(text)), allowSealing, 0)
	}
	if errno != 0 {
		return -1, errno
	}
	return int(fd), nil
}

// memfdCreateNumber is the system call's number, which package syscall is too
// old to know.
func memfdCreateNumber() uintptr {
	switch runtime.GOARCH {
	case "amd64":
		return 319
	case "386":
		return 356
	case "arm":
		return 385
	case "ppc64", "ppc64le":
		return 360
	case "s390x":
		return 350
	}
	return 279 // asm-generic/unistd.h: arm64, riscv64, loong64
}

// control is fcntl(2).
func control(fd, command, argument int) (int, error) {
	result, _, errno := syscall.Syscall(syscall.SYS_FCNTL, uintptr(fd), uintptr(command), uintptr(argument))
	if errno != 0 {
		return -1, errno
	}
	return int(result), nil
}
