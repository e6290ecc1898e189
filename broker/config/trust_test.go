package config

import (
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

func TestTrust(t *testing.T) {
	const agent = 500
	for _, test := range []struct {
		name     string
		mode     fs.FileMode
		uid, gid uint32
		want     string
	}{
		{"root's", 0o644, 0, 0, ""},
		{"the agent's own", 0o600, agent, agent, ""},
		{"root's group may write", 0o664, 0, 0, ""},
		{"every user may write", 0o646, 0, 0, "every user can write it (mode 0646) and so give any container any secret: run chmod o-w FILE"},
		{"another group may write", 0o664, 0, 20, "group 20 can write it (mode 0664) and so give any container any secret: run chmod g-w FILE"},
		{"somebody else's", 0o644, 1000, 0, "belongs to user 1000, who can write it and so give any container any secret: run chown root FILE"},
	} {
		err := trust("FILE", test.mode, &syscall.Stat_t{Uid: test.uid, Gid: test.gid}, agent)
		if got := text(err); got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// place makes a directory with a configuration that is right in itself.
func place(t *testing.T) (dir, file string) {
	t.Helper()
	dir = t.TempDir()
	file = filepath.Join(dir, "q.yaml")
	must(t, os.Chmod(dir, 0o755))
	must(t, os.WriteFile(file, []byte("vault: {address: https://v, role: r}\n"), 0o600))
	must(t, os.Mkdir(filepath.Join(dir, "conf.d"), 0o755))
	must(t, os.Chmod(filepath.Join(dir, "conf.d"), 0o755))
	return dir, file
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestFilesThatAreNotRead(t *testing.T) {
	const consequence = "and so give any container any secret: run chmod o-w "
	for _, test := range []struct {
		name  string
		spoil func(t *testing.T, dir, file string)
		want  string // DIR stands for the directory
	}{
		{"missing", func(t *testing.T, _, file string) { must(t, os.Remove(file)) },
			"DIR/q.yaml: does not exist; " + smallest},
		{"a directory", func(t *testing.T, _, file string) { must(t, os.Remove(file)); must(t, os.Mkdir(file, 0o755)) },
			"DIR/q.yaml: is a directory, not a regular file"},
		{"a named pipe that nobody writes to", func(t *testing.T, _, file string) { must(t, os.Remove(file)); must(t, syscall.Mkfifo(file, 0o600)) },
			"DIR/q.yaml: is a named pipe, not a regular file"},
		{"a device", func(t *testing.T, _, file string) { must(t, os.Remove(file)); must(t, os.Symlink("/dev/null", file)) },
			"DIR/q.yaml: is a device, not a regular file"},
		{"a socket", func(t *testing.T, _, file string) {
			must(t, os.Remove(file))
			listener, err := net.Listen("unix", file)
			must(t, err)
			t.Cleanup(func() { listener.Close() })
		}, "DIR/q.yaml: cannot be opened by user " + user() + ": no such device or address"},
		{"a link to itself", func(t *testing.T, _, file string) { must(t, os.Remove(file)); must(t, os.Symlink(file, file)) },
			"DIR/q.yaml: cannot be opened by user " + user() + ": too many levels of symbolic links"},
		{"writable by all", func(t *testing.T, _, file string) { must(t, os.Chmod(file, 0o666)) },
			"DIR/q.yaml: every user can write it (mode 0666) " + consequence + "DIR/q.yaml"},
		{"too large", func(t *testing.T, _, file string) {
			must(t, os.WriteFile(file, []byte(strings.Repeat("# much\n", 1<<18)), 0o600))
		},
			"DIR/q.yaml: is larger than 1048576 bytes: split it into files in conf.d"},
		{"in a directory that all can write", func(t *testing.T, dir, _ string) { must(t, os.Chmod(dir, 0o777)) },
			"DIR: every user can write it (mode 0777) " + consequence + "DIR"},
		{"conf.d that all can write", func(t *testing.T, dir, _ string) { must(t, os.Chmod(dir+"/conf.d", 0o777|fs.ModeSticky)) },
			"DIR/conf.d: every user can write it (mode 0777) " + consequence + "DIR/conf.d"},
		{"conf.d that is a file", func(t *testing.T, dir, _ string) {
			must(t, os.Remove(dir+"/conf.d"))
			must(t, os.WriteFile(dir+"/conf.d", nil, 0o600))
		}, "DIR/conf.d: cannot be read as a directory: not a directory"},
		{"a file of conf.d that all can write", func(t *testing.T, dir, _ string) {
			must(t, os.WriteFile(dir+"/conf.d/a.yaml", nil, 0o600))
			must(t, os.Chmod(dir+"/conf.d/a.yaml", 0o602))
		}, "DIR/conf.d/a.yaml: every user can write it (mode 0602) " + consequence + "DIR/conf.d/a.yaml"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir, file := place(t)
			test.spoil(t, dir, file)
			_, _, err := Load(file)
			if got := strings.ReplaceAll(text(err), dir, "DIR"); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

func user() string { return strconv.Itoa(os.Geteuid()) }

func TestDirectoryWithTheStickyBitIsGoodEnough(t *testing.T) {
	dir, file := place(t)
	must(t, os.Chmod(dir, 0o777|fs.ModeSticky))
	if _, _, err := Load(file); err != nil {
		t.Error(err)
	}
}

func TestByteOrderMarkIsSkipped(t *testing.T) {
	_, file := place(t)
	must(t, os.WriteFile(file, []byte("\ufeffvault: {address: https://v, role: r}\n"), 0o600))
	if _, _, err := Load(file); err != nil {
		t.Error(err)
	}
}
