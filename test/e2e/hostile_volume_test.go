//go:build integration

package e2e_test

import (
	"archive/tar"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"
	dockervolume "github.com/docker/docker/api/types/volume"

	"github.com/quaymaster/quaymaster/test/engine"
)

// twoFiles is three without the variable, which no volume can bring.
func twoFiles() map[string]string {
	wants := three()
	delete(wants, "quaymaster.env.DB_PASSWORD")
	return wants
}

// withVolume mounts volumes of the agent's driver, each as name:path, with
// nothing of the image copied into them.
func withVolume(places ...string) *container.HostConfig {
	hostConfig := &container.HostConfig{}
	for _, place := range places {
		name, path, _ := strings.Cut(place, ":")
		hostConfig.Mounts = append(hostConfig.Mounts, mount.Mount{Type: mount.TypeVolume, Source: name, Target: path,
			VolumeOptions: &mount.VolumeOptions{NoCopy: true, DriverConfig: &mount.Driver{Name: h.Plugin()}}})
	}
	return hostConfig
}

// seesTwo reports what is wrong with what the first instruction of a container
// with a volume saw.
func seesTwo(r engine.Report) bool {
	return len(r.Files) == 2 && !r.Writable && r.Files["password"].Fingerprint == engine.Fingerprint([]byte(password)) &&
		r.Files["legacy"].Fingerprint == engine.Fingerprint([]byte("old-school"))
}

// TestHostileVolumes is TestHostileImages for the volume gate: the first
// instruction finds its secrets, or the container does not start and whoever
// started it reads why.
func TestHostileVolumes(t *testing.T) {
	outside := theirs(t)
	run := directory("run", 0o755)
	for name, c := range map[string]struct {
		image  []tar.Header
		places []string // of volumes; empty: one at /run/secrets
		change func(*container.HostConfig)
		says   string // empty: it starts, and the secrets are right
	}{
		"the directory is there":     {image: []tar.Header{run, directory("run/secrets", 0o755)}},
		"it has content":             {image: []tar.Header{run, directory("run/secrets", 0o755), {Typeflag: tar.TypeReg, Name: "run/secrets/password"}}},
		"read-only, missing":         {change: func(c *container.HostConfig) { c.ReadonlyRootfs = true }},
		"link to a path of the host": {image: []tar.Header{run, symlink("run/secrets", outside+"/secrets")}},
		"link that climbs":           {image: []tar.Header{run, symlink("run/secrets", "../../../../../.."+outside+"/secrets")}},
		"parent is a link":           {image: []tar.Header{symlink("run", outside)}},
		"link to itself":             {image: []tar.Header{run, symlink("run/secrets", "secrets")}, says: "too many"},
		"file":                       {image: []tar.Header{run, {Typeflag: tar.TypeReg, Name: "run/secrets"}}, says: "not a directory"},
		"FIFO":                       {image: []tar.Header{run, {Typeflag: tar.TypeFifo, Name: "run/secrets"}}, says: "not a directory"},
		"at /":                       {places: []string{"a:/"}, says: "destination can't be '/'"},
		"at /etc":                    {places: []string{"a:/etc"}, says: "read-only file system"},
		"at /proc":                   {places: []string{"a:/proc"}, says: "proc"},
		"below /proc":                {places: []string{"a:/proc/sys"}, says: "proc"},
		"nested":                     {places: []string{"a:/run/secrets", "b:/run/secrets/deep"}, says: "read-only file system"},
		"two":                        {places: []string{"a:/run/secrets", "b:/run/others"}},
		"one, twice":                 {places: []string{"a:/run/secrets", "a:/run/others"}},
		"differ in case":             {places: []string{"secrets:/run/secrets", "SECRETS:/run/others"}},
		"a name that climbs":         {places: []string{"../../../../../.." + outside + ":/run/secrets"}}, // the engine leaves it to the driver
		"a very long name":           {places: []string{strings.Repeat("v", 9000) + ":/run/secrets"}},
	} {
		t.Run(name, func(t *testing.T) {
			config, hostConfig := probe("once", twoFiles()), withVolume("secrets:/run/secrets")
			if c.places != nil {
				hostConfig = withVolume(c.places...)
			}
			config.Image = prepared(t, c.image...)
			if c.change != nil {
				c.change(hostConfig)
			}
			if c.says == "" {
				if r := runProbe(t, h, config, hostConfig); !seesTwo(r) {
					t.Errorf("it saw %+v", r)
				}
			} else if message := refused(t, h, config, hostConfig); !strings.Contains(strings.ToLower(message), c.says) {
				t.Errorf("the message does not say %q: %.1000s", c.says, message)
			}
		})
	}
}

// TestAVolumeThroughProc: nobody can look before the first instruction here, as
// the engine mounts after the gate has answered. An old runc follows the link,
// and then it is reported; a new one does not start the container.
func TestAVolumeThroughProc(t *testing.T) {
	outside := theirs(t)
	reconfigure(t, h, plain+"require_gate: true\n")
	config := probe("hold", twoFiles())
	config.Image = prepared(t, directory("run", 0o755), symlink("run/secrets", "/proc/self/cwd"+outside))
	id, err := h.Engine.Launch(soon(t), config, withVolume("secrets:/run/secrets"))
	defer remove(t, h, id)
	if err != nil {
		if !strings.Contains(err.Error(), "error mounting") {
			t.Error(err)
		}
		return
	}
	t.Log("it started")
	await(t, h, "the agent to report it", func() bool {
		return strings.Contains(h.Log(), "a container runs WITHOUT its secrets: what lies at the place of its volume") && strings.Contains(h.Log(), id)
	})
	await(t, h, "it to be stopped", func() bool { return !running(t, id) })
}

// TestHostileVolumeCalls asks the driver as the engine does, of volumes and
// mounts whose names are paths.
func TestHostileVolumeCalls(t *testing.T) {
	outside := theirs(t)
	trees := everything(t, h.Trees())
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join("/run/docker/plugins", h.Plugin()+".sock"))
	}}}
	defer client.CloseIdleConnections()
	for _, name := range []string{"../../../../../.." + outside, outside, "..", ".", "", "a/../../b", "..data", `\u0000`, `\ud800`, strings.Repeat("a", 100_000)} {
		for _, call := range []string{"Mount", "Unmount", "Path", "Remove"} {
			for _, body := range []string{`{"Name":"` + name + `","ID":"` + strings.Repeat("a", 64) + `"}`, `{"Name":"secrets","ID":"` + name + `"}`} {
				if call == "Remove" && strings.Contains(body, `"secrets"`) {
					continue
				}
				response, err := client.Post("http://plugin/VolumeDriver."+call, "application/json", strings.NewReader(body))
				if err != nil {
					t.Errorf("%s %.60s: %v", call, body, err)
					continue
				}
				answer, err := io.ReadAll(response.Body)
				response.Body.Close()
				if err != nil || call == "Mount" && (!bytes.Contains(answer, []byte(`"Err":"quaymaster: `)) || bytes.Contains(answer, []byte(`"Mountpoint"`))) {
					t.Errorf("%s %.60s: %s, %v", call, body, answer, err)
				}
			}
		}
	}
	if after := everything(t, h.Trees()); after != trees {
		t.Errorf("the trees were\n%s\nand are\n%s", trees, after)
	}
	if r := runProbe(t, h, probe("once", twoFiles()), withVolume("secrets:/run/secrets")); !seesTwo(r) {
		t.Errorf("then a container saw %+v", r)
	}
}

// TestAContainerThatHidesItsVolume may unmount it with CAP_SYS_ADMIN, and mount
// over it; copying from it meanwhile disturbs nobody either.
func TestAContainerThatHidesItsVolume(t *testing.T) {
	theirs(t)
	importFull(t, h)
	hostConfig := withVolume("hidden:/run/secrets")
	hostConfig.CapAdd, hostConfig.SecurityOpt = []string{"SYS_ADMIN"}, []string{"seccomp=unconfined", "apparmor=unconfined"}
	script := "mount -t tmpfs none /run/secrets && umount /run/secrets && umount /run/secrets && mkdir -p /run/secrets/x && echo gone && exec sleep 1000"
	id, err := h.Engine.Launch(soon(t), &container.Config{Image: fullImage, Cmd: []string{"sh", "-c", script}, Labels: twoFiles()}, hostConfig)
	if err != nil {
		t.Fatal(err)
	}
	await(t, h, "the container to unmount its tree", func() bool {
		stdout, _, err := h.Engine.Logs(t.Context(), id)
		return err == nil && strings.Contains(string(stdout), "gone")
	})
	for range 5 {
		content, _, err := h.Engine.Client().CopyFromContainer(soon(t), id, "/run/secrets")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, content); err != nil {
			t.Error(err)
		}
		content.Close()
	}
	if r := runProbe(t, h, probe("once", twoFiles()), withVolume("secrets:/run/secrets")); !seesTwo(r) {
		t.Errorf("another container saw %+v", r)
	}
	remove(t, h, id)
	await(t, h, "all trees to be wiped", func() bool { return !strings.Contains(everything(t, h.Trees()), "password") })
	list, err := h.Engine.Client().VolumeList(soon(t), dockervolume.ListOptions{})
	if err != nil || len(list.Volumes) == 0 {
		t.Errorf("%+v, %v", list, err)
	}
}
