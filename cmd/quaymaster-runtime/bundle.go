package main

import (
	"path"
	"strconv"
	"syscall"
	"time"
)

// bundle is an OCI bundle: a directory with a config.json. It is held open, so
// that what is read, checked and written is in one and the same directory.
type bundle struct {
	path   string
	dir    int
	config []byte
	stat   syscall.Stat_t // of config.json
}

const configName = "config.json"

// openBundle reads the bundle. The engine writes config.json as a file of its
// own; a link in its place, which could lead the rewritten one elsewhere, is
// refused.
func openBundle(path string) (*bundle, error) {
	dir, err := syscall.Open(path, syscall.O_RDONLY|syscall.O_DIRECTORY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil, because("cannot open the bundle "+path, err)
	}
	b := &bundle{path: path, dir: dir}
	if err := b.read(); err != nil {
		b.close()
		return nil, because("cannot read "+configName+" in the bundle "+path, err)
	}
	return b, nil
}

func (b *bundle) close() { syscall.Close(b.dir) }

func (b *bundle) read() (err error) {
	b.config, b.stat, err = readAt(b.dir, configName)
	return err
}

// readAt reads a file in an open directory; a link there is an error.
func readAt(dir int, name string) ([]byte, syscall.Stat_t, error) {
	fd, err := syscall.Openat(dir, name, syscall.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil, syscall.Stat_t{}, err
	}
	defer syscall.Close(fd)
	return readRegular(fd)
}

// inMemory reports whether what is written into the bundle stays in memory.
func (b *bundle) inMemory() bool {
	var fs syscall.Statfs_t
	return syscall.Fstatfs(b.dir, &fs) == nil && isMemory(fs)
}

// inMemory reports whether dir, or what of its path exists, is on a memory
// filesystem: runc keeps a copy of the configuration below its root, which it
// may still have to make.
func inMemory(dir string) bool {
	for {
		var fs syscall.Statfs_t
		err := syscall.Statfs(dir, &fs)
		if err != syscall.ENOENT {
			return err == nil && isMemory(fs)
		}
		parent := path.Dir(dir)
		if parent == dir {
			return false
		}
		dir = parent
	}
}

// isMemory knows TMPFS_MAGIC and RAMFS_MAGIC of linux/magic.h.
func isMemory(fs syscall.Statfs_t) bool {
	return uint32(fs.Type) == 0x01021994 || uint32(fs.Type) == 0x858458f6
}

// replace puts a new config.json in the place of the old one, with its owner
// and mode. Whoever opens it sees the one or the other, whole.
func (b *bundle) replace(config []byte) error {
	return b.put(configName, config, func(fd int) error {
		if err := syscall.Fchown(fd, int(b.stat.Uid), int(b.stat.Gid)); err != nil {
			return err
		}
		return syscall.Fchmod(fd, b.stat.Mode&0o7777)
	})
}

// put writes a file of the bundle in one step. It belongs to this process's
// user alone, unless dress makes it look otherwise.
func (b *bundle) put(name string, text []byte, dress func(fd int) error) error {
	temporary := "." + name + "." + strconv.FormatInt(time.Now().UnixNano(), 36)
	if err := b.write(temporary, text, dress); err != nil {
		return because("cannot write the new "+name+" in the bundle "+b.path, err)
	}
	if err := syscall.Renameat(b.dir, temporary, b.dir, name); err != nil {
		syscall.Unlinkat(b.dir, temporary)
		return because("cannot replace "+name+" in the bundle "+b.path, err)
	}
	return nil
}

func (b *bundle) write(name string, text []byte, dress func(fd int) error) (err error) {
	fd, err := syscall.Openat(b.dir, name, syscall.O_WRONLY|syscall.O_CREAT|syscall.O_EXCL|syscall.O_NOFOLLOW|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if closing := syscall.Close(fd); err == nil {
			err = closing
		}
		if err != nil {
			syscall.Unlinkat(b.dir, name)
		}
	}()
	if err := writeAll(fd, text); err != nil || dress == nil {
		return err
	}
	return dress(fd)
}

func writeAll(fd int, data []byte) error {
	for len(data) > 0 {
		n, err := syscall.Write(fd, data)
		if err != nil && err != syscall.EINTR {
			return err
		}
		data = data[max(n, 0):]
	}
	return nil
}
