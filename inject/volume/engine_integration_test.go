//go:build integration

package volume_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/mount"
	dockervolume "github.com/docker/docker/api/types/volume"

	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/inject"
	"github.com/quaymaster/quaymaster/inject/memfs"
	"github.com/quaymaster/quaymaster/inject/plugin"
	"github.com/quaymaster/quaymaster/inject/volume"
	"github.com/quaymaster/quaymaster/test/engine"
)

// host is an engine and an agent's volume gate, whose trees are real.
type host struct {
	*engine.Engine
	name  string // of the driver
	trees *memfs.FS
	view  string
	state string
	kept  *os.File // the plugin's socket, as systemd keeps it
	stop  func()   // ends the gate

	asked chan inject.Arrival // each delivery
	hold  func(ctx context.Context, a inject.Arrival) error
}

// Deliver implements inject.Deliverer: who mounts gets one file that says which
// tree it is made for.
func (h *host) Deliver(ctx context.Context, a inject.Arrival) (inject.Delivery, error) {
	h.asked <- a
	if err := h.hold(ctx, a); err != nil {
		return inject.Delivery{}, err
	}
	value := secret.NewValue([]byte(content(a)))
	_, err := h.trees.Create(a.Tree, *a.User, []inject.File{{Name: "password", Mode: 0o400, Value: value}})
	return inject.Delivery{Source: filepath.Join(h.view, a.Tree), Target: "/run/secrets"}, err
}

// End implements inject.Ender.
func (h *host) End(_ context.Context, tree string) {
	if err := h.trees.Remove(tree); err != nil {
		panic(err)
	}
}

// Mounting implements volume.Finder.
func (h *host) Mounting(ctx context.Context, driver, name string) ([]inject.Arrival, error) {
	list, err := h.Client().ContainerList(ctx, container.ListOptions{All: true, Filters: filters.NewArgs(filters.Arg("volume", name))})
	var found []inject.Arrival
	for _, c := range list {
		if c.State != "running" {
			found = append(found, inject.Arrival{Container: c.ID, User: &inject.Owner{}})
		}
	}
	return found, err
}

func content(a inject.Arrival) string { return a.Profile + "/" + a.Tree }

// start starts an engine, and a gate beside it.
func start(t *testing.T, o engine.Options) *host {
	t.Helper()
	h := &host{name: "quaymaster-test-" + strings.ToLower(rand.Text()), state: t.TempDir(), view: filepath.Join(t.TempDir(), "view"),
		asked: make(chan inject.Arrival, 100), hold: func(context.Context, inject.Arrival) error { return nil }}
	h.openTrees(t)
	listener, err := plugin.Listen(filepath.Join("/run/docker/plugins", h.name+".sock"))
	if err != nil {
		t.Fatal(err)
	}
	if h.kept, err = listener.File(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.kept.Close(); os.Remove(listener.Addr().String()) })
	listener.SetUnlinkOnClose(false)
	listener.Close()
	h.run(t) // before the engine, and longer: a start of the engine asks for its volumes, and its end unmounts them
	t.Cleanup(func() { h.stop() })
	h.Engine = engine.ForTest(t, o)
	if err := errors.Join(h.ImportProbe(t.Context()), h.ImportBusybox(t.Context())); err != nil {
		t.Fatal(err)
	}
	return h
}

func (h *host) openTrees(t *testing.T) {
	t.Helper()
	memory, err := os.MkdirTemp("/run", "quaymaster-volume-test-") // every user must be able to pass through it
	if err == nil {
		err = os.Chmod(memory, 0o711)
	}
	if err == nil {
		err = memfs.Mount(filepath.Join(memory, "trees"), memfs.Options{})
	}
	h.view = filepath.Join(memory, "view")
	if err == nil {
		err = memfs.MountView(filepath.Join(memory, "trees"), h.view)
	}
	if err == nil {
		h.trees, err = memfs.Open(filepath.Join(memory, "trees"))
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		err := errors.Join(h.trees.Close(), memfs.Unmount(h.view), memfs.Unmount(filepath.Join(memory, "trees")), os.RemoveAll(memory))
		if err != nil {
			t.Error(err)
		}
	})
}

// run runs the gate, as an agent that begins does.
func (h *host) run(t *testing.T) {
	t.Helper()
	listener, err := net.FileListener(h.kept)
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	gate, err := volume.New(volume.Options{Driver: h.name, Deliverer: h, Ender: h, Finder: h, State: h.state,
		Profiles: func(name string) bool { return name == "shop-db" }, Timeout: time.Minute, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		served := plugin.New(plugin.Options{Listener: listener.(*net.UnixListener), Subsystems: []plugin.Subsystem{gate.Subsystem()}, Log: log})
		done <- served.Run(ctx)
	}()
	h.stop = sync.OnceFunc(func() {
		cancel()
		if err := errors.Join(<-done, gate.Close()); err != nil {
			t.Error(err)
		}
	})
}

// mounts is what --mount type=volume,volume-driver=…,volume-opt=profile=… asks for.
func (h *host) mounts(name, profile string) *container.HostConfig {
	options := &mount.VolumeOptions{DriverConfig: &mount.Driver{Name: h.name}}
	if profile != "" {
		options.DriverConfig.Options = map[string]string{"profile": profile}
	}
	return &container.HostConfig{Mounts: []mount.Mount{{Type: mount.TypeVolume, Source: name, Target: "/run/secrets", VolumeOptions: options}}}
}

func probe(mode string) *container.Config {
	return &container.Config{Image: engine.ProbeImage, Cmd: []string{"/probe", "/run/secrets", mode}}
}

// create creates a container that is not started.
func (h *host) create(t *testing.T, config *container.Config, hostConfig *container.HostConfig) string {
	t.Helper()
	created, err := h.Client().ContainerCreate(t.Context(), config, hostConfig, nil, nil, "")
	if err != nil {
		t.Fatal(err)
	}
	return created.ID
}

// seen is what the probe reported in a container's start, counted from 1.
func (h *host) seen(t *testing.T, id string, start int) engine.Report {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		reports, err := h.Reports(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if len(reports) >= start {
			return reports[start-1]
		}
	}
	t.Fatalf("no report of start %d within a minute", start)
	return engine.Report{}
}

func (h *host) startContainer(t *testing.T, id string) {
	t.Helper()
	if err := h.Client().ContainerStart(t.Context(), id, container.StartOptions{}); err != nil {
		t.Error(err)
	}
}

func (h *host) stopContainer(t *testing.T, id string) {
	t.Helper()
	if err := h.Client().ContainerStop(t.Context(), id, container.StopOptions{}); err != nil {
		t.Error(err)
	}
}

func (h *host) treesAre(t *testing.T, want int) {
	t.Helper()
	if trees, err := h.trees.List(); err != nil || len(trees) != want {
		t.Errorf("trees %v, %v; want %d", trees, err, want)
	}
}

// TestFirstInstruction: docker run -v and --mount, and what becomes of the trees.
func TestFirstInstruction(t *testing.T) {
	h := start(t, engine.Options{})
	binds := &container.HostConfig{Binds: []string{"plain:/run/secrets"}, VolumeDriver: h.name}
	for name, hostConfig := range map[string]*container.HostConfig{"-v": binds, "--mount": h.mounts("profiled", "shop-db")} {
		result, err := h.Run(t.Context(), probe("once"), hostConfig)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		arrival, report := <-h.asked, h.seen(t, result.ID, 1)
		file := report.Files["password"]
		if file.Fingerprint != engine.Fingerprint([]byte(content(arrival))) || file.Mode != 0o400 || report.Writable {
			t.Errorf("%s: the first instruction saw %+v, writable %v", name, report.Files, report.Writable)
		}
		if arrival.Container != result.ID || arrival.Gate != "volume" || !arrival.FilesOnly || len(arrival.Others) > 0 {
			t.Errorf("%s: arrival %+v", name, arrival)
		}
	}
	h.treesAre(t, 0)
}

// TestOneVolumeForTwo: two containers that start at once do not wait for each
// other, and have a tree each.
func TestOneVolumeForTwo(t *testing.T) {
	h := start(t, engine.Options{})
	both := make(chan struct{})
	var arrived sync.WaitGroup
	arrived.Add(2)
	go func() { arrived.Wait(); close(both) }()
	h.hold = func(ctx context.Context, _ inject.Arrival) error {
		arrived.Done()
		select {
		case <-both:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	ids := []string{h.create(t, probe("hold"), h.mounts("shared", "shop-db")), h.create(t, probe("hold"), h.mounts("shared", "shop-db"))}
	var starts sync.WaitGroup
	for _, id := range ids {
		starts.Go(func() { h.startContainer(t, id) })
	}
	starts.Wait()
	h.treesAre(t, 2)
	if one, other := h.seen(t, ids[0], 1).Files["password"], h.seen(t, ids[1], 1).Files["password"]; one.Fingerprint == other.Fingerprint || one.Length != other.Length {
		t.Errorf("they see %+v and %+v", one, other)
	}
	h.stopContainer(t, ids[0])
	h.treesAre(t, 1)
	h.stopContainer(t, ids[1])
	h.treesAre(t, 0)
}

// TestCopyFromARunningContainer: docker cp mounts a container's volumes once
// more, and unmounts them, under the same ID.
func TestCopyFromARunningContainer(t *testing.T) {
	h := start(t, engine.Options{})
	id := h.create(t, probe("hold"), h.mounts("copied", "shop-db"))
	h.startContainer(t, id)
	for range 2 { // the second time by an agent that did not see the start
		content, _, err := h.Client().CopyFromContainer(t.Context(), id, "/run/secrets/password")
		if err != nil {
			t.Fatal(err)
		}
		content.Close()
		h.stop()
		h.run(t)
	}
	if len(h.asked) != 1 {
		t.Errorf("%d deliveries", len(h.asked))
	}
	h.treesAre(t, 1)
	h.stopContainer(t, id)
	h.treesAre(t, 0)
}

// TestRefused pins what the user of docker sees.
func TestRefused(t *testing.T) {
	h := start(t, engine.Options{})
	reason := `container web: ref "vault:kv/shop/db#password" is not granted`
	h.hold = func(context.Context, inject.Arrival) error { return errors.New(reason) }
	_, err := h.Launch(t.Context(), probe("once"), h.mounts("refused", "shop-db"))
	if err == nil || !strings.Contains(err.Error(), `: quaymaster: volume "refused": `+reason) {
		t.Errorf("docker shows %v", err)
	}
	_, err = h.Client().VolumeCreate(t.Context(), dockervolume.CreateOptions{Name: "typo", Driver: h.name, DriverOpts: map[string]string{"profile": "shop-bd"}})
	if err == nil || !strings.Contains(err.Error(), `quaymaster: volume "typo": there is no profile "shop-bd"`) {
		t.Errorf("docker shows %v", err)
	}
	h.treesAre(t, 0)
}

// TestImageWithTheDirectory: an engine that creates a container mounts its
// volume to copy what the image has there. 20.10 lists the container already,
// and finds the volume full; 29 does not, and is refused unless it is told not
// to copy. No file of the image is ever in the tree.
func TestImageWithTheDirectory(t *testing.T) {
	h := start(t, engine.Options{})
	if err := h.Import(t.Context(), "images.test/directory", directory(t), "CMD [\"/bin/ls\", \"/run/secrets\"]"); err != nil {
		t.Fatal(err)
	}
	hostConfig := h.mounts("populated", "shop-db")
	created, err := h.Client().ContainerCreate(t.Context(), &container.Config{Image: "images.test/directory"}, hostConfig, nil, nil, "")
	id := created.ID
	if err != nil {
		if !strings.Contains(err.Error(), "volume-nocopy") {
			t.Fatal(err)
		}
		hostConfig.Mounts[0].VolumeOptions.NoCopy = true
		id = h.create(t, &container.Config{Image: "images.test/directory"}, hostConfig)
	}
	h.treesAre(t, 0)
	h.startContainer(t, id)
	waited, failed := h.Client().ContainerWait(t.Context(), id, container.WaitConditionNotRunning)
	select {
	case err := <-failed:
		t.Fatal(err)
	case <-waited:
	}
	if stdout, _, err := h.Logs(t.Context(), id); err != nil || string(stdout) != "password\n" {
		t.Errorf("it saw %q, %v", stdout, err)
	}
}

// directory is an image of busybox that has files at /run/secrets.
func directory(t *testing.T) io.Reader {
	t.Helper()
	busybox, err := engine.BusyboxTar(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var image bytes.Buffer
	image.Write(bytes.TrimRight(busybox, "\x00")) // the end of an archive is zeros
	image.Write(make([]byte, -image.Len()&511))
	w := tar.NewWriter(&image)
	err = errors.Join(w.WriteHeader(&tar.Header{Name: "run/secrets/of-the-image", Mode: 0o644}), w.Close())
	if err != nil {
		t.Fatal(err)
	}
	return &image
}

// TestVolumesOutliveTheEngineAndTheAgent.
func TestVolumesOutliveTheEngineAndTheAgent(t *testing.T) {
	h := start(t, engine.Options{})
	id := h.create(t, probe("hold"), h.mounts("kept", "shop-db"))
	starts := 0
	for name, between := range map[string]func() error{
		"agent restarted":  func() error { h.stop(); h.run(t); return nil },
		"engine restarted": func() error { return h.Restart(t.Context()) },
		"engine crashed":   func() error { return errors.Join(h.Kill(), h.Restart(t.Context())) },
	} {
		if err := between(); err != nil {
			t.Fatal(err)
		}
		h.startContainer(t, id)
		starts++
		arrival := <-h.asked
		if seen := h.seen(t, id, starts).Files["password"]; seen.Fingerprint != engine.Fingerprint([]byte(content(arrival))) || arrival.Profile != "shop-db" {
			t.Errorf("%s: it saw %+v", name, seen)
		}
		h.stopContainer(t, id)
	}
	if v, err := h.Client().VolumeInspect(t.Context(), "kept"); err != nil || v.Driver != h.name || v.Status["profile"] != "shop-db" || v.Scope != "local" {
		t.Errorf("%+v, %v", v, err)
	}
	if err := errors.Join(h.Client().ContainerRemove(t.Context(), id, container.RemoveOptions{}), h.Client().VolumeRemove(t.Context(), "kept", false)); err != nil {
		t.Error(err)
	}
	list, err := h.Client().VolumeList(t.Context(), dockervolume.ListOptions{})
	ours := slices.ContainsFunc(list.Volumes, func(v *dockervolume.Volume) bool { return v.Driver == h.name }) // the engine lists those of every driver on the machine
	if err != nil || ours {
		t.Errorf("%+v, %v", list, err)
	}
}

// TestAgentEndsWhileAContainerWaits: the engine follows to the next agent, with
// the whole request.
func TestAgentEndsWhileAContainerWaits(t *testing.T) {
	h := start(t, engine.Options{})
	id := h.create(t, probe("once"), h.mounts("waiting", "shop-db"))
	h.hold = func(ctx context.Context, _ inject.Arrival) error { <-ctx.Done(); return ctx.Err() }
	var starting sync.WaitGroup
	starting.Go(func() { h.startContainer(t, id) })
	first := <-h.asked
	h.stop()
	h.hold = func(context.Context, inject.Arrival) error { return nil }
	h.run(t)
	starting.Wait()
	if second := <-h.asked; second.Tree != first.Tree {
		t.Errorf("asked for %s, then for %s", first.Tree, second.Tree)
	}
	if seen := h.seen(t, id, 1).Files["password"]; seen.Fingerprint != engine.Fingerprint([]byte(content(first))) {
		t.Errorf("it saw %+v", seen)
	}
}
