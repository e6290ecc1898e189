//go:build integration

package e2e_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"

	"github.com/quaymaster/quaymaster/inject/runtime/wire"
	"github.com/quaymaster/quaymaster/test/engine"
	"github.com/quaymaster/quaymaster/test/host"
)

// prepared makes an image of the probe and of what somebody prepared in it.
func prepared(t *testing.T, headers ...tar.Header) string {
	t.Helper()
	probe, err := engine.ProbeTar(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var image bytes.Buffer
	out := tar.NewWriter(&image)
	if err := appendTar(out, probe); err != nil {
		t.Fatal(err)
	}
	for _, header := range headers {
		if header.Mode == 0 && header.Typeflag != tar.TypeDir {
			header.Mode = 0o777
		}
		if err := out.WriteHeader(&header); err != nil {
			t.Fatal(err)
		}
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	const tag = "images.test/hostile"
	if err := h.Engine.Import(soon(t), tag, &image); err != nil {
		t.Fatal(err)
	}
	return tag
}

func symlink(at, to string) tar.Header {
	return tar.Header{Typeflag: tar.TypeSymlink, Name: at, Linkname: to}
}

func directory(at string, mode int64) tar.Header {
	return tar.Header{Typeflag: tar.TypeDir, Name: at + "/", Mode: mode}
}

// theirs is a directory of the host's that nobody may touch. The test fails if
// anything in it is another at its end, or if the value of the secret lies in
// it or on the engine's disk.
func theirs(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, made := range []string{"secrets", "etc"} {
		if err := os.Mkdir(filepath.Join(dir, made), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "secrets/password"), []byte("the host's"), 0o644); err != nil {
		t.Fatal(err)
	}
	before := everything(t, dir)
	t.Cleanup(func() {
		if after := everything(t, dir); after != before {
			t.Errorf("the host was\n%s\nand is\n%s", before, after)
		}
		for _, place := range []string{dir, h.Engine.DataRoot()} {
			if places, _, err := host.Search(place, password); err != nil || len(places) != 0 {
				t.Errorf("the secret lies in %v, %v", places, err)
			}
		}
	})
	return dir
}

// everything says all there is to say of what lies below dir.
func everything(t *testing.T, dir string) string {
	t.Helper()
	out, err := exec.Command("find", dir, "-printf", `%P %y %i %m %U:%G %s %T@ %C@ %l\n`).CombinedOutput() // in a cleanup, too
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return string(out)
}

// TestHostileImages: whatever an image, or who starts it, has put where the
// secrets go, the first instruction finds them there, or the container does not
// start and the reason is said. The engine's runtime resolves links beneath the
// container's root, so a link may lead elsewhere in the container, never out.
func TestHostileImages(t *testing.T) {
	outside := theirs(t)
	bind := func(spec string) func(*container.HostConfig) {
		return func(c *container.HostConfig) { c.Binds = []string{spec} }
	}
	tmpfs := func(at, options string) func(*container.HostConfig) {
		return func(c *container.HostConfig) { c.Tmpfs = map[string]string{at: options} }
	}
	readOnly := func(c *container.HostConfig) { c.ReadonlyRootfs = true }
	run := directory("run", 0o755)
	for name, c := range map[string]struct {
		image  []tar.Header
		change func(*container.HostConfig)
		says   string // empty: it starts, and the secrets are right
	}{
		"the directory is there":     {image: []tar.Header{run, directory("run/secrets", 0o755)}},
		"it has mode 000":            {image: []tar.Header{directory("run", 0), directory("run/secrets", 0)}},
		"read-only, there":           {image: []tar.Header{run, directory("run/secrets", 0o755)}, change: readOnly},
		"read-only, missing":         {change: readOnly},
		"link to a directory":        {image: []tar.Header{run, directory("srv", 0o755), symlink("run/secrets", "/srv")}},
		"link to a path of the host": {image: []tar.Header{run, symlink("run/secrets", outside+"/secrets")}},
		"link that climbs":           {image: []tar.Header{run, symlink("run/secrets", "../../../../../.."+outside+"/secrets")}},
		"parent is a link":           {image: []tar.Header{symlink("run", outside)}},
		"parent is a relative link":  {image: []tar.Header{symlink("run", "../../.."+outside)}},
		"link to itself":             {image: []tar.Header{run, symlink("run/secrets", "secrets")}, says: "too many"},
		"file":                       {image: []tar.Header{run, {Typeflag: tar.TypeReg, Name: "run/secrets"}}, says: "not a directory"},
		"FIFO":                       {image: []tar.Header{run, {Typeflag: tar.TypeFifo, Name: "run/secrets"}}, says: "not a directory"},
		"device":                     {image: []tar.Header{run, {Typeflag: tar.TypeChar, Name: "run/secrets", Devmajor: 1, Devminor: 5}}, says: "not a directory"},
		"parent is a file":           {image: []tar.Header{{Typeflag: tar.TypeReg, Name: "run"}}, says: "not a directory"},
		"tmpfs at it":                {change: tmpfs("/run/secrets", ""), says: "it already mounts something at /run/secrets"},
		"bind at it":                 {change: bind(outside + "/secrets:/run/secrets"), says: "it already mounts something at /run/secrets"},
		"volume at it":               {change: bind("mine:/run/secrets"), says: "it already mounts something at /run/secrets"},
		"bind that climbs to it":     {change: bind(outside + "/secrets:/etc/../run/./secrets"), says: "it already mounts something at /run/secrets"},
		"tmpfs above":                {change: tmpfs("/run", "")},
		"full tmpfs above":           {change: tmpfs("/run", "nr_inodes=1"), says: "no space left"},
		"bind above":                 {change: bind(outside + ":/run")},
		"read-only bind above":       {change: bind(outside + "/etc:/run:ro"), says: "read-only file system"},
	} {
		t.Run(name, func(t *testing.T) {
			config, hostConfig := probe("once", three()), gated()
			config.Image = prepared(t, c.image...)
			if c.change != nil {
				c.change(hostConfig)
			}
			if c.says == "" {
				if err := checkThree(runProbe(t, h, config, hostConfig)); err != nil {
					t.Error(err)
				}
				return
			}
			if message := refused(t, h, config, hostConfig); !strings.Contains(strings.ToLower(message), c.says) {
				t.Errorf("the message does not say %q: %s", c.says, message)
			}
		})
	}
}

const notSecrets = "what lies at /run/secrets in it is not its secrets"

// nameOf is the container's name.
func nameOf(t *testing.T, id string) string {
	t.Helper()
	inspected, err := h.Engine.Client().ContainerInspect(soon(t), id)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimPrefix(inspected.Name, "/")
}

// TestALinkThroughProc: runc resolves such a link as it sees /proc itself, so it
// mounts the tree somewhere else in the container than where the link leads its
// processes. The container does not start, nothing of the host's is touched, and
// what was prepared for it is wiped.
func TestALinkThroughProc(t *testing.T) {
	outside := theirs(t)
	for name, image := range map[string][]tar.Header{
		"cwd":            {directory("run", 0o755), symlink("run/secrets", "/proc/self/cwd"+outside)},
		"root":           {directory("run", 0o755), symlink("run/secrets", "/proc/1/root"+outside)},
		"relative":       {directory("run", 0o755), symlink("run/secrets", "../proc/thread-self/cwd/x")},
		"parent":         {symlink("run", "/proc/self/cwd"+outside)},
		"link to a link": {directory("run", 0o755), symlink("run/secrets", "/srv"), symlink("srv", "/proc/self/cwd"+outside)},
	} {
		for how, change := range map[string]func(*container.HostConfig){
			"":            func(*container.HostConfig) {},
			", its pid":   func(c *container.HostConfig) { c.PidMode = "host" },
			", by init":   func(c *container.HostConfig) { c.Init = new(true) },
			", read-only": func(c *container.HostConfig) { c.ReadonlyRootfs = true },
		} {
			t.Run(name+how, func(t *testing.T) {
				config, hostConfig := probe("once", three()), gated()
				config.Image = prepared(t, image...)
				change(hostConfig)
				message := refused(t, h, config, hostConfig)
				if !strings.Contains(message, notSecrets) && !strings.Contains(message, "error mounting") { // by runc, which does not follow every link
					t.Errorf("the message is %s", message)
				}
			})
		}
	}
	t.Run("in a volume", func(t *testing.T) { linkInAVolume(t, "/proc/self/cwd"+outside) })
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || strings.Contains(string(mounts), outside) {
		t.Errorf("something is mounted in the host's directory: %v", err)
	}
}

// linkInAVolume: a refused start leaves nothing, and when the link is gone the
// next one succeeds.
func linkInAVolume(t *testing.T, to string) {
	dir := t.TempDir()
	if err := os.Symlink(to, filepath.Join(dir, "secrets")); err != nil {
		t.Fatal(err)
	}
	config, hostConfig := probe("once", three()), gated()
	config.User, hostConfig.Binds = "65534", []string{dir + ":/run:ro"}
	id, err := h.Engine.Launch(soon(t), config, hostConfig)
	defer remove(t, h, id)
	for range 2 {
		if err == nil || !strings.Contains(err.Error(), "error mounting") && // by the newest engine's runc, which follows no such link
			!strings.Contains(err.Error(), "container "+nameOf(t, id)+" ("+id+") did not start: "+notSecrets) {
			t.Errorf("it started, or says something else: %v", err)
		}
		await(t, h, "all that the engine had of it to go", func() bool {
			found, err := exec.CommandContext(t.Context(), "find", h.Engine.ExecRoot(), "-name", id+"*").Output()
			return err == nil && len(found) == 0
		})
		err = h.Engine.Client().ContainerStart(soon(t), id, container.StartOptions{})
	}
	if err := errors.Join(os.Remove(filepath.Join(dir, "secrets")), os.Mkdir(filepath.Join(dir, "secrets"), 0o755)); err != nil {
		t.Fatal(err)
	}
	if err := h.Engine.Client().ContainerStart(soon(t), id, container.StartOptions{}); err != nil {
		t.Error(err)
	}
}

// TestHostilePathLabels: the directory that a label chooses.
func TestHostilePathLabels(t *testing.T) {
	outside := theirs(t)
	for _, path := range []string{"../.." + outside, "/run/../.." + outside, "run/secrets", "/", "//", "/run/secrets/..", ""} {
		labels := three()
		labels["quaymaster.path"] = path
		checkRefusal(t, probe("once", labels), gated(), "quaymaster.path")
	}
}

// TestHostileContainerIDs asks the agent as its runtime does, for containers
// whose ID is a path.
func TestHostileContainerIDs(t *testing.T) {
	outside := theirs(t)
	trees := everything(t, h.Trees())
	for _, id := range []string{"../../../../../.." + outside, outside, "..", ".", "../trees", "a/../../b", "..data", "\x00", strings.Repeat("a", 4000)} {
		connection, err := net.Dial("unix", filepath.Join(h.Trees(), "../../runtime.sock"))
		if err != nil {
			t.Fatal(err)
		}
		connection.SetDeadline(time.Now().Add(time.Minute))
		message, err := wire.Request{ID: id, EngineDir: outside, MemoryOnly: true}.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := connection.Write(message); err != nil {
			t.Fatal(err)
		}
		answer, err := wire.ReadAnswer(connection)
		if err != nil || answer.Verdict == wire.Deliver {
			t.Errorf("%.40q: %+v, %v", id, answer.Verdict, err)
		}
		connection.Close()
	}
	if after := everything(t, h.Trees()); after != trees {
		t.Errorf("the trees were\n%s\nand are\n%s", trees, after)
	}
}

// TestAContainerThatHidesItsTree may unmount it with CAP_SYS_ADMIN, and mount
// over it. It keeps its secrets from itself; the agent and others notice nothing.
func TestAContainerThatHidesItsTree(t *testing.T) {
	theirs(t)
	importFull(t, h)
	script := "mount -t tmpfs none /run/secrets && umount /run/secrets && umount /run/secrets && echo gone && exec sleep 1000"
	hostConfig := gated()
	hostConfig.CapAdd, hostConfig.SecurityOpt = []string{"SYS_ADMIN"}, []string{"seccomp=unconfined", "apparmor=unconfined"}
	id, err := h.Engine.Launch(soon(t), &container.Config{Image: fullImage, Cmd: []string{"sh", "-c", script}, Labels: three()}, hostConfig)
	if err != nil {
		t.Fatal(err)
	}
	await(t, h, "the container to unmount its tree", func() bool {
		stdout, _, err := h.Engine.Logs(t.Context(), id)
		return err == nil && strings.Contains(string(stdout), "gone")
	})
	if err := checkThree(runProbe(t, h, probe("once", three()), gated())); err != nil {
		t.Error(err)
	}
	remove(t, h, id)
	await(t, h, "its tree to be wiped", func() bool {
		_, err := os.Stat(filepath.Join(h.Trees(), id))
		return os.IsNotExist(err)
	})
}
