//go:build integration

package main

import (
	"bytes"
	"crypto/rand"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/pkg/stdcopy"

	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/inject"
	"github.com/quaymaster/quaymaster/inject/runtime/spec"
	"github.com/quaymaster/quaymaster/inject/runtime/wire"
	real "github.com/quaymaster/quaymaster/test/engine"
	"github.com/quaymaster/quaymaster/test/host"
	"github.com/quaymaster/quaymaster/test/oci"
)

// start starts a container that sleeps, and gets the value as TOKEN.
func (d *docker) start(t *testing.T, value string, exec bool, config container.Config, hostConfig container.HostConfig) string {
	t.Helper()
	d.delivery.Store(&inject.Delivery{ExecVariables: exec,
		Variables: []inject.Variable{{Name: "TOKEN", Value: secret.NewValue([]byte(value))}}})
	return d.sleep(t, config, hostConfig)
}

// sleep starts a container that the gate is asked about.
func (d *docker) sleep(t *testing.T, config container.Config, hostConfig container.HostConfig) string {
	t.Helper()
	config.Image, config.Labels = real.BusyboxImage, map[string]string{"quaymaster.env.TOKEN": "vault:kv/x"}
	config.Cmd = []string{"sh", "-c", "trap exit TERM; sleep 600 & wait"}
	if hostConfig.Runtime == "" {
		hostConfig.Runtime = "quaymaster"
	}
	id, err := d.Launch(t.Context(), &config, &hostConfig)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// exec is docker exec; it returns what the command said.
func (d *docker) exec(t *testing.T, id string, options container.ExecOptions) string {
	t.Helper()
	options.AttachStdout, options.AttachStderr = true, true
	created, err := d.Client().ContainerExecCreate(t.Context(), id, options)
	if err != nil {
		t.Fatal(err)
	}
	attached, err := d.Client().ContainerExecAttach(t.Context(), created.ID, container.ExecAttachOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer attached.Close()
	var out bytes.Buffer
	if _, err := stdcopy.StdCopy(&out, &out, attached.Reader); err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(out.String())
}

var printToken = []string{"sh", "-c", `id -u; echo "[$TOKEN]"; ls /proc/self/fd | wc -l`}

func TestExecSeesVariables(t *testing.T) {
	for name, options := range map[string]real.Options{"plain": {}, "userns-remap": {UsernsRemap: true}} {
		t.Run(name, func(t *testing.T) {
			d := newDocker(t, options)
			value := rand.Text()
			id := d.start(t, value, true, container.Config{Env: []string{"TOKEN=placeholder", "OTHER=1"}}, container.HostConfig{})
			// ls has its three and the directory: no descriptor is left over.
			for want, options := range map[string]container.ExecOptions{
				"0\n[" + value + "]\n4":     {Cmd: printToken},
				"65534\n[" + value + "]\n4": {Cmd: printToken, User: "nobody"},
				"0\n[mine]\n4":              {Cmd: printToken, Env: []string{"TOKEN=mine"}},
				"0\n[]\n4":                  {Cmd: printToken, Env: []string{"TOKEN="}},
			} {
				if got := d.exec(t, id, options); got != want {
					t.Errorf("%+v: %s", options, strings.ReplaceAll(got, value, "THE VALUE"))
				}
			}
			without := d.start(t, value, false, container.Config{Env: []string{"TOKEN=placeholder"}}, container.HostConfig{})
			if got := d.exec(t, without, container.ExecOptions{Cmd: printToken}); got != "0\n[placeholder]\n4" {
				t.Errorf("not configured: %s", strings.ReplaceAll(got, value, "THE VALUE"))
			}
			d.wantNotOnDisk(t, value)
		})
	}
}

// wantNotOnDisk searches the engine's disk, and what has come into the
// directory for temporary files since the engine was started: its shim writes
// the process JSON there.
func (d *docker) wantNotOnDisk(t *testing.T, value string) {
	t.Helper()
	places, searched, err := host.Search(d.DataRoot(), value)
	if err != nil || searched == 0 {
		t.Errorf("%d files searched: %v", searched, err)
	}
	if in, _, err := host.Search(d.ExecRoot(), value); err != nil || len(in) == 0 {
		t.Errorf("the search does not find the value where it is: %v", err)
	}
	recent := 0
	err = filepath.WalkDir(os.TempDir(), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return nil // others come and go here
		}
		info, err := entry.Info()
		if err != nil || info.ModTime().Before(d.started) || info.Size() > 1<<20 {
			return nil
		}
		recent++
		if text, err := os.ReadFile(path); err == nil && bytes.Contains(text, []byte(value)) {
			places = append(places, path)
		}
		return nil
	})
	if err != nil || recent == 0 { // the program's own recorder is there
		t.Errorf("%d files below %s: %v", recent, os.TempDir(), err)
	}
	for _, place := range places {
		t.Errorf("the value is in %s", place)
	}
}

func TestHealthcheckSeesVariables(t *testing.T) {
	d := newDocker(t, real.Options{})
	value := rand.Text()
	check := &container.HealthConfig{Test: []string{"CMD-SHELL", `echo "length ${#TOKEN}"; [ ${#TOKEN} -gt 20 ]`},
		Interval: 50 * time.Millisecond, Timeout: 20 * time.Second, Retries: 1}
	for exec, want := range map[bool]string{true: "healthy", false: "unhealthy"} {
		id := d.start(t, value, exec, container.Config{Healthcheck: check}, container.HostConfig{})
		var health *container.Health
		for health == nil || health.Status == container.Starting {
			inspected, err := d.Client().ContainerInspect(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			health = inspected.State.Health
			time.Sleep(10 * time.Millisecond)
		}
		if health.Status != want {
			t.Errorf("exec variables %v: %s, %+v", exec, health.Status, health.Log)
		}
	}
	d.wantNotOnDisk(t, value)
}

// TestExecAsTheEngineCallsIt holds what the program believes of the engine's
// shim, and the official schema's opinion of what the engine wrote and of what
// the program made of it.
func TestExecAsTheEngineCallsIt(t *testing.T) {
	d := newDocker(t, real.Options{})
	schema, err := oci.Load()
	if err != nil {
		t.Fatal(err)
	}
	value := rand.Text()
	id := d.start(t, value, true, container.Config{}, container.HostConfig{Runtime: "recorded"})
	if got := d.exec(t, id, container.ExecOptions{Cmd: printToken}); !strings.Contains(got, value) {
		t.Error("the process has no value")
	}
	dir, line, _ := strings.Cut(readText(t, d.records()+"/call"), "\n")
	args := strings.Split(strings.TrimSuffix(line, "\n"), "\n")
	_, args, err = parseSettings(args)
	if err != nil {
		t.Fatal(err)
	}
	c := parseCall(args)
	if dir != d.bundle(id) || c.log != d.bundle(id)+"/log.json" || c.id != id || c.command != "exec" || c.process == "" || args[c.processAt] != c.process {
		t.Errorf("in %s: %q, %+v", dir, args, c)
	}
	if mark := readText(t, d.bundle(id)+"/"+markName); strings.Contains(mark, value) || !strings.Contains(mark, `"TOKEN"`) {
		t.Errorf("the mark is %s", strings.ReplaceAll(mark, value, "THE VALUE"))
	}
	process, config := []byte(readText(t, d.records()+"/process")), []byte(readText(t, d.bundle(id)+"/config.json"))
	changed, err := spec.ApplyExec(process, config, []spec.Inherited{{Name: "TOKEN"}})
	if err != nil || !bytes.Contains(changed, []byte(value)) || bytes.Contains(process, []byte(value)) {
		t.Errorf("the process JSON: %v", err)
	}
	for _, err := range []error{schema.Process(process), schema.Process(changed)} {
		if err != nil {
			t.Error(err)
		}
	}
}

// TestEnginesConfigsStayValid: what the real engines write, for containers of
// many kinds, is as valid after the program has changed it as it was before.
func TestEnginesConfigsStayValid(t *testing.T) {
	schema, err := oci.Load()
	if err != nil {
		t.Fatal(err)
	}
	const megabyte = 1 << 20
	for _, kind := range real.Built() {
		t.Run(kind.String(), func(t *testing.T) {
			d := newDocker(t, real.Options{Kind: kind})
			for name, c := range map[string]struct {
				config container.Config
				host   container.HostConfig
			}{
				"plain":     {},
				"read-only": {container.Config{User: "65534:65533", WorkingDir: "/tmp", Tty: true}, container.HostConfig{ReadonlyRootfs: true, CapDrop: []string{"ALL"}}},
				"powerful":  {container.Config{Env: []string{"TOKEN=placeholder"}}, container.HostConfig{CapAdd: []string{"NET_ADMIN"}, SecurityOpt: []string{"seccomp=unconfined"}, PidMode: "host", IpcMode: "host"}},
				"limited": {container.Config{StopSignal: "SIGINT"}, container.HostConfig{Init: new(true), Tmpfs: map[string]string{"/x": "size=1m"}, ShmSize: megabyte,
					Sysctls: map[string]string{"net.ipv4.ip_forward": "1"}, Binds: []string{"data:/data:ro"}, GroupAdd: []string{"7"},
					Resources: container.Resources{Memory: 64 * megabyte, PidsLimit: new(int64(50)), CPUShares: 512}}},
			} {
				value, files := rand.Text(), d.tree(t, "x")
				c.host.Runtime = "recorded"
				d.delivery.Store(&inject.Delivery{Source: files, Target: "/run/secrets",
					Variables: []inject.Variable{{Name: "TOKEN", Value: secret.NewValue([]byte(value))}}})
				id := d.sleep(t, c.config, c.host)
				before, after := []byte(readText(t, d.records()+"/config.json")), []byte(readText(t, d.bundle(id)+"/config.json"))
				want, err := spec.Apply(before, wire.Answer{Verdict: wire.Deliver, Source: files, Target: "/run/secrets",
					Variables: []wire.Variable{{Name: "TOKEN", Value: func() []byte { return []byte(value) }}}})
				if err != nil || !bytes.Equal(after, want) {
					t.Errorf("%s: the configuration is not what it should be, %v", name, err)
				}
				for when, text := range map[string][]byte{"before": before, "after": after} {
					if err := schema.Config(text); err != nil {
						t.Errorf("%s, %s: %v", name, when, err)
					}
				}
			}
		})
	}
}

func readText(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
