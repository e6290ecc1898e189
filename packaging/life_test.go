//go:build packages

package packaging_test

import (
	"os"
	"slices"
	"strings"
	"testing"
)

const (
	configured = "vault: {address: https://vault.internal:8200, role: docker-host}\n" +
		"grants: [{name: db, workloads: {compose.service: db}, secrets: [\"vault:kv/shop/db\"]}]\n"
	configFile = "etc/quaymaster/quaymaster.yaml"
	daemonFile = "etc/docker/daemon.json"
	standard   = `{"log-driver": "journald"}` + "\n"
	wants      = "etc/systemd/system/"
)

// enabled are the links by which systemd starts everything.
var enabled = []string{
	wants + "docker.service.wants/quaymaster.service",
	wants + "multi-user.target.wants/quaymaster.service",
	wants + "multi-user.target.wants/quaymaster-memory.service",
	wants + "multi-user.target.wants/run-quaymaster-memory.mount",
	wants + "multi-user.target.wants/run-quaymaster-view.mount",
	wants + "sockets.target.wants/quaymaster.socket",
	wants + "sockets.target.wants/quaymaster-runtime.socket",
	wants + "sockets.target.wants/quaymaster-plugin.socket",
	wants + "multi-user.target.wants/quaymaster-configure.service",
	wants + "multi-user.target.wants/quaymaster-doctor.service",
}

// TestInstallUpgradeDowngradePurge is a package's whole life on a host that
// does not run, as where an image is made. In the end nothing is left.
func TestInstallUpgradeDowngradePurge(t *testing.T) {
	r := newRoot(t)
	older, newer := r.deb(t, "1.0-1"), r.deb(t, "1.1-1")
	r.write(t, daemonFile, standard, 0o644)
	before := r.files(t)

	said := r.run(t, "dpkg", "-i", older)
	if !strings.Contains(said, "say in /etc/quaymaster/quaymaster.yaml what this host may read") {
		t.Errorf("nobody says what to do next:\n%s", said)
	}
	r.checkInstalled(t)

	r.write(t, configFile, configured, 0o600)
	r.run(t, "systemctl", "disable", "quaymaster-plugin.socket")
	for _, version := range []string{newer, older} {
		r.run(t, "dpkg", "-i", version)
		if r.read(t, configFile) != configured {
			t.Errorf("%s: the administrator's configuration is gone", version)
		}
		if r.has(enabled[7]) || !r.has(enabled[6]) {
			t.Errorf("%s: what the administrator disabled is enabled, or the other way round", version)
		}
	}

	r.run(t, "quaymaster", "install", "docker-runtime", "--default")
	if !strings.Contains(r.read(t, daemonFile), `"/usr/bin/quaymaster-runtime"`) {
		t.Fatalf("the gate is not in daemon.json: %s", r.read(t, daemonFile))
	}
	r.write(t, "var/lib/quaymaster/state", "x", 0o600)
	r.write(t, "var/log/quaymaster/audit.jsonl", "{}\n", 0o600)
	r.run(t, "dpkg", "-r", "quaymaster")
	if r.read(t, daemonFile) != standard || r.read(t, configFile) != configured || !r.has("var/log/quaymaster/audit.jsonl") || !r.has("var/lib/quaymaster/state") {
		t.Error("a removal leaves the gate in daemon.json, or takes configuration, state or log with it")
	}
	r.run(t, "dpkg", "-P", "quaymaster")
	after := r.files(t)
	for _, name := range slices.Concat(before, after) {
		if slices.Contains(before, name) != slices.Contains(after, name) {
			t.Errorf("a purge leaves, or takes: %s", name)
		}
	}
	if r.has("var/log/quaymaster") {
		t.Error("a purge leaves the log")
	}
}

// checkInstalled looks at what a fresh installation is.
func (r *root) checkInstalled(t *testing.T) {
	t.Helper()
	for name, mode := range map[string]os.FileMode{
		configFile: 0o600, "var/lib/quaymaster": os.ModeDir | 0o700, "run/quaymaster": os.ModeDir | 0o711, "usr/bin/quaymaster": 0o755,
	} {
		if info, err := os.Stat(r.path(name)); err != nil || info.Mode() != mode {
			t.Errorf("%s: %v, %v, want %v", name, info, err, mode)
		}
	}
	for _, link := range enabled {
		if !r.has(link) {
			t.Errorf("not enabled: %s", link)
		}
	}
	if said := r.run(t, "sh", "-c", "systemd-analyze verify --man=no /usr/lib/systemd/system/*quaymaster* 2>&1"); said != "" {
		t.Errorf("systemd-analyze verify says:\n%s", said)
	}
	if said := r.run(t, "/usr/libexec/docker/cli-plugins/docker-quaymaster", "docker-cli-plugin-metadata"); !strings.Contains(said, `"SchemaVersion":"0.1.0"`) {
		t.Errorf("the docker command gets no answer: %s", said)
	}
	said, err := r.try("quaymaster", "validate")
	if err == nil || !strings.Contains(said, "is empty") {
		t.Errorf("the configuration as it is delivered: %v: %s", err, said)
	}
	r.run(t, "logrotate", "--debug", "/etc/logrotate.d/quaymaster")
}

// TestTheDeliveredExampleHolds: taking the comment signs off makes a
// configuration that is right.
func TestTheDeliveredExampleHolds(t *testing.T) {
	r := newRoot(t)
	r.run(t, "dpkg", "-i", r.deb(t, "1.0-1"))
	var text strings.Builder
	for line := range strings.Lines(r.read(t, configFile)) {
		if rest, is := strings.CutPrefix(line, "#"); is && !strings.HasPrefix(rest, " ") || strings.HasPrefix(rest, "  ") {
			line = rest
		}
		text.WriteString(line)
	}
	r.write(t, configFile, text.String(), 0o600)
	r.run(t, "quaymaster", "validate")
}

// TestAnUpgradeRestartsTheAgentAlone: neither Docker nor what containers look
// into is touched, and the sockets keep listening.
func TestAnUpgradeRestartsTheAgentAlone(t *testing.T) {
	r := newRoot(t)
	older, newer := r.deb(t, "1.0-1"), r.deb(t, "1.1-1")
	r.startSystemd(t)
	r.run(t, "dpkg", "-i", older)
	if told := strings.Join(r.told(t), "\n"); !strings.Contains(told, "start run-quaymaster-memory.mount") || strings.Contains(told, "start quaymaster.service") {
		t.Errorf("an installation on a host without configuration: %s", told)
	}
	r.write(t, configFile, configured, 0o600)
	for _, version := range []string{newer, older} {
		r.run(t, "dpkg", "-i", version)
		want := []string{"--system daemon-reload", "--quiet --system restart quaymaster.service"}
		if told := r.told(t); !slices.Equal(told, want) {
			t.Errorf("%s: systemd was told %q, want %q", version, told, want)
		}
	}
	r.run(t, "dpkg", "-r", "quaymaster")
	if told := strings.Join(r.told(t), "\n"); strings.Contains(told, "docker") || strings.Contains(told, ".mount") || !strings.Contains(told, "stop quaymaster.service") {
		t.Errorf("a removal: %s", told)
	}
	r.run(t, "dpkg", "-i", newer)
	if told := strings.Join(r.told(t), "\n"); !strings.Contains(told, "start quaymaster.service") {
		t.Errorf("an installation on a host with configuration: %s", told)
	}
}

// TestARemovalThatWouldStopDockerIsRefused: where daemon.json cannot be read,
// and names a program that would be gone.
func TestARemovalThatWouldStopDockerIsRefused(t *testing.T) {
	r := newRoot(t)
	r.run(t, "dpkg", "-i", r.deb(t, "1.0-1"))
	broken := `{"runtimes": {"quaymaster": {"path": "/usr/bin/quaymaster-runtime"}},}`
	r.write(t, daemonFile, broken, 0o644)
	said, err := r.try("dpkg", "-r", "quaymaster")
	if err == nil || !strings.Contains(said, "mend the file as said above") || !r.has("usr/bin/quaymaster-runtime") {
		t.Errorf("%v: %s", err, said)
	}
	r.write(t, daemonFile, strings.Replace(broken, "}},}", "}}}", 1), 0o644)
	r.run(t, "dpkg", "-r", "quaymaster")
	if r.has(daemonFile) && strings.Contains(r.read(t, daemonFile), "quaymaster") {
		t.Errorf("the gate is still there: %s", r.read(t, daemonFile))
	}
}

// TestRPM is the life of the other format, in the same Debian: its scripts are
// plain shell and systemctl's.
func TestRPM(t *testing.T) {
	r := newRoot(t)
	r.write(t, daemonFile, standard, 0o644)
	r.rpm(t, "-i", one(t, built, ".x86_64.rpm"))
	r.write(t, configFile, configured, 0o600)
	r.run(t, "quaymaster", "install", "docker-runtime")
	r.startSystemd(t)
	r.rpm(t, "-U", "--force", one(t, built, ".x86_64.rpm"))
	if told := r.told(t); !slices.Equal(told, []string{"daemon-reload", "try-restart quaymaster.service"}) {
		t.Errorf("an upgrade: systemd was told %q", told)
	}
	if r.read(t, configFile) != configured || !strings.Contains(r.read(t, daemonFile), "quaymaster") {
		t.Error("an upgrade changes the configuration, or takes the gate out")
	}
	r.rpm(t, "-e", "quaymaster")
	if told := strings.Join(r.told(t), "\n"); !strings.Contains(told, "disable --now quaymaster.service") || strings.Contains(told, "docker") {
		t.Errorf("an erasure: %s", told)
	}
	if r.read(t, daemonFile) != standard || r.has("usr/bin/quaymaster") {
		t.Error("an erasure leaves the gate or the program")
	}
	if r.read(t, configFile+".rpmsave") != configured {
		t.Error("an erasure loses the configuration")
	}
}
