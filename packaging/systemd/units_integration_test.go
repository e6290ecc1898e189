//go:build integration

// Package systemd_test checks the units as far as that can be done without
// systemd as the first process: that systemd reads every line of them, how much
// they leave the agent, and that they agree with each other and the program.
package systemd_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/quaymaster/quaymaster/broker/config"
)

// program is where the packages put the agent.
const program = "/usr/bin/quaymaster"

// units are all files of this directory that are units.
func units(t *testing.T) (names []string) {
	t.Helper()
	for _, pattern := range []string{"*.service", "*.socket", "*.mount"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, found...)
	}
	if len(names) != 9 {
		t.Fatalf("%d units: %v", len(names), names)
	}
	return names
}

// installed copies the units to a directory, with a program that exists.
func installed(t *testing.T) (files []string) {
	t.Helper()
	dir := t.TempDir()
	for _, name := range units(t) {
		text := strings.ReplaceAll(read(t, name), program, "/bin/true")
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	return files
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func analyze(t *testing.T, args ...string) string {
	t.Helper()
	output, err := exec.Command("systemd-analyze", args...).CombinedOutput()
	if err != nil {
		t.Errorf("systemd-analyze %s: %v\n%s", args[0], err, output)
	}
	return string(output)
}

// TestSystemdReadsTheUnits: a key that systemd does not know is a warning and
// then nothing, so any word is too much.
func TestSystemdReadsTheUnits(t *testing.T) {
	if said := analyze(t, slices.Concat([]string{"verify", "--man=no"}, installed(t))...); said != "" {
		t.Errorf("systemd-analyze verify says:\n%s", said)
	}
}

// exposures are how much each unit may leave open, in tenths as systemd counts.
// Most of what is left to the agent is what it is root for.
var exposures = map[string]string{"quaymaster.service": "40", "quaymaster-configure.service": "18", "quaymaster-doctor.service": "30"}

func TestNoUnitMayDoMoreThanItMust(t *testing.T) {
	for _, file := range installed(t) {
		if exposure, limited := exposures[filepath.Base(file)]; limited {
			analyze(t, "security", "--offline=true", "--no-pager", "--threshold="+exposure, file)
		}
	}
}

// TestTheBootWaitsForNothingLong: the configuration is made before the agent
// starts, once a boot and within a bound; nothing waits for the doctor.
func TestTheBootWaitsForNothingLong(t *testing.T) {
	service, configure, doctor := read(t, "quaymaster.service"), read(t, "quaymaster-configure.service"), read(t, "quaymaster-doctor.service")
	for _, key := range []string{"Wants", "After"} {
		if !slices.Contains(values(service, key), "quaymaster-configure.service") {
			t.Errorf("the agent has not %s=quaymaster-configure.service", key)
		}
	}
	for key, want := range map[string][]string{"Type": {"oneshot"}, "RemainAfterExit": {"yes"}, "TimeoutStartSec": {"20s"}, "ReadWritePaths": {"/etc/quaymaster"}} {
		if got := values(configure, key); !slices.Equal(got, want) {
			t.Errorf("quaymaster-configure.service has %s=%v, want %v", key, got, want)
		}
	}
	for _, first := range []string{"network-online.target", "cloud-init.service", "cloud-init-network.service"} {
		if !slices.Contains(values(configure, "After"), first) {
			t.Errorf("the configuration may be made before %s", first)
		}
	}
	for key, want := range map[string][]string{"Type": {"exec"}, "Before": nil, "StandardOutput": {"journal+console"}, "After": {"quaymaster.service", "docker.service"}} {
		if got := values(doctor, key); !slices.Equal(got, want) {
			t.Errorf("quaymaster-doctor.service has %s=%v, want %v", key, got, want)
		}
	}
	for _, name := range units(t) {
		if slices.Contains(slices.Concat(values(read(t, name), "After"), values(read(t, name), "Requires")), "quaymaster-doctor.service") {
			t.Errorf("%s waits for the doctor", name)
		}
	}
}

// values are what a unit says for one key, in order.
func values(text, key string) (found []string) {
	for line := range strings.Lines(text) {
		if value, is := strings.CutPrefix(strings.TrimSpace(line), key+"="); is {
			found = append(found, strings.Fields(value)...)
		}
	}
	return found
}

// TestTheUnitsAgree: every socket is handed to the agent, under the name and at
// the path that the program knows, and everything is there before Docker.
func TestTheUnitsAgree(t *testing.T) {
	service := read(t, "quaymaster.service")
	sockets := map[string][2]string{
		"quaymaster.socket":         {"agent", "/run/quaymaster/agent.sock"},
		"quaymaster-runtime.socket": {"runtime", "/run/quaymaster/runtime.sock"},
		"quaymaster-plugin.socket":  {"plugin", "/run/docker/plugins/quaymaster.sock"},
	}
	if handed := values(service, "Sockets"); len(handed) != len(sockets) {
		t.Errorf("the agent is handed %v", handed)
	}
	for name, want := range sockets {
		text := read(t, name)
		got := [2]string{strings.Join(values(text, "FileDescriptorName"), " "), strings.Join(values(text, "ListenStream"), " ")}
		if got != want || !slices.Equal(values(text, "Service"), []string{"quaymaster.service"}) ||
			!slices.Equal(values(text, "SocketMode"), []string{"0600"}) || !slices.Contains(values(service, "Sockets"), name) {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
	for _, name := range units(t) {
		text := read(t, name)
		for _, docker := range []string{"docker.service", "containerd.service"} {
			if name != "quaymaster-doctor.service" && !slices.Contains(values(text, "Before"), docker) {
				t.Errorf("%s is not ordered before %s", name, docker)
			}
		}
		if len(values(text, "WantedBy")) == 0 {
			t.Errorf("%s cannot be enabled", name)
		}
	}
}

// TestTheAgentMayWriteWhereItWrites: with its default configuration, that is.
func TestTheAgentMayWriteWhereItWrites(t *testing.T) {
	service := read(t, "quaymaster.service")
	if !slices.Equal(values(service, "ProtectSystem"), []string{"strict"}) {
		t.Error("the agent may write everywhere")
	}
	writable := values(service, "ReadWritePaths")
	for key, root := range map[string]string{"RuntimeDirectory": "/run", "StateDirectory": "/var/lib", "LogsDirectory": "/var/log"} {
		for _, name := range values(service, key) {
			writable = append(writable, filepath.Join(root, name))
		}
	}
	c := config.Default()
	for _, dir := range []string{c.Paths.Run, c.Paths.State, filepath.Dir(c.Audit.File), c.Docker.CDIDir} {
		if dir = strings.Replace(dir, "/var/run/", "/run/", 1); !slices.Contains(writable, dir) { // the one is a link to the other
			t.Errorf("the agent writes in %s, and may in %v", dir, writable)
		}
	}
	if !slices.Equal(values(service, "RuntimeDirectoryPreserve"), []string{"yes"}) {
		t.Error("other programs' CDI devices go when the agent ends")
	}
}

// TestBothMountsAreTheSame: but for noswap, which one of the kernels lacks.
func TestBothMountsAreTheSame(t *testing.T) {
	modern := strings.Join(values(read(t, "run-quaymaster-memory.mount"), "Options"), " ")
	old := read(t, "quaymaster-memory.service")
	if plain := strings.ReplaceAll(modern, ",noswap", ""); plain == modern || !strings.Contains(old, "-o "+plain+" quaymaster /run/quaymaster/memory") {
		t.Errorf("%s, and\n%s", modern, old)
	}
}
