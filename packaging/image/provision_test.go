//go:build image

package image_test

import (
	"os"
	"slices"
	"strings"
	"testing"
)

const provision = "./provision.sh --package quaymaster_*_amd64.deb"

// units are the links by which systemd starts everything at the first boot.
var units = []string{
	"docker.service.wants/quaymaster.service", "multi-user.target.wants/docker.service", "multi-user.target.wants/quaymaster.service",
	"multi-user.target.wants/quaymaster-memory.service", "multi-user.target.wants/run-quaymaster-memory.mount", "multi-user.target.wants/run-quaymaster-view.mount",
	"sockets.target.wants/quaymaster.socket", "sockets.target.wants/quaymaster-runtime.socket", "sockets.target.wants/quaymaster-plugin.socket",
}

const settings = "vault: {address: https://vault.internal:8200, role: docker-host}\n" +
	"grants: [{name: db, workloads: {compose.service: db}, secrets: [\"vault:kv/shop/db\"]}]\n"

// used is what a machine has about it that was used: what Packer's machine has,
// and one whose engine has run.
var used = map[string]string{
	"etc/machine-id":                           "0123456789abcdef0123456789abcdef\n",
	"var/lib/dbus/machine-id":                  "0123456789abcdef0123456789abcdef\n",
	"etc/ssh/ssh_host_ed25519_key":             "x",
	"etc/ssh/ssh_host_ed25519_key.pub":         "x",
	"var/lib/systemd/random-seed":              "x",
	"var/lib/systemd/credential.secret":        "x",
	"etc/docker/key.json":                      "{}",
	"var/lib/docker/engine-id":                 "x",
	"var/lib/docker/network/files/local-kv.db": "x",
	"var/lib/docker/swarm/docker-state.json":   "{}",
	"var/lib/docker/overlay2/1/diff/file":      "x",
	"var/lib/containerd/tmp":                   "x",
	"var/lib/cloud/instances/i-1/obj.pkl":      "x",
	"var/lib/dhcp/dhclient.eth0.leases":        "lease {}",
	"var/lib/waagent/provisioned":              "x",
	"var/lib/amazon/ssm/Vault/Store/key":       "x",
	"etc/ssl/private/ssl-cert-snakeoil.key":    pem,
	"etc/hostname":                             "builder-7\n",
	"var/log/syslog":                           "a line\n",
	"var/log/syslog.1":                         "an older line\n",
	"var/log/journal/0123/system.journal":      "x",
	"var/lib/quaymaster/nonce":                 "x",
	"var/log/quaymaster/audit.jsonl":           "{}\n",
	"etc/quaymaster/conf.d/00-instance.yaml":   "identity: aws\n",
	"root/.ssh/authorized_keys":                "ssh-ed25519 AAAA packer\n",
	"root/.bash_history":                       "export TOKEN=x\n",
	"home/admin/.ssh/authorized_keys":          "ssh-ed25519 AAAA packer\n",
	"home/admin/.bash_history":                 "ls\n",
	"tmp/script_1.sh":                          "x",
	"var/tmp/left":                             "x",
	"swapfile":                                 "x",
}

// TestAnImageIsMade of a machine that was used: engine, gate and units are there
// for the first boot, nothing by which its machines would be the same, and it can
// be done again, without any network.
func TestAnImageIsMade(t *testing.T) {
	r := newRoot(t)
	for path, text := range used {
		r.write(t, path, text, 0o600)
	}
	r.write(t, "etc/hosts", "127.0.0.1 localhost\n127.0.1.1 builder-7\n", 0o644)
	r.write(t, "etc/fstab", "/dev/vda1 / ext4 defaults 0 1\n/swapfile none swap sw 0 0\n", 0o644)
	r.write(t, "etc/quaymaster/conf.d/50-image.yaml", settings, 0o600)
	r.write(t, "usr/sbin/sshd", "", 0o755) // and nobody who would make its keys
	r.run(t, true, "usermod -p '$6$salt$hash' root")
	resolver := r.read(t, "etc/resolv.conf")

	said := r.run(t, true, provision)
	if !strings.Contains(said, "the password of root is locked") || !strings.Contains(said, "make the image") {
		t.Errorf("it says\n%s", said)
	}
	r.checkImage(t)
	r.run(t, false, "quaymaster validate")
	if !r.has("etc/systemd/system/multi-user.target.wants/ssh-host-keys.service") {
		t.Error("nobody makes keys for sshd")
	}
	if got := r.read(t, "etc/hosts"); got != "127.0.0.1 localhost\n" {
		t.Errorf("/etc/hosts: %q", got)
	}
	if got := r.read(t, "etc/fstab"); !strings.Contains(got, "\n# no swap") || !strings.HasPrefix(got, "/dev/vda1") {
		t.Errorf("/etc/fstab: %q", got)
	}
	if r.read(t, "etc/resolv.conf") != resolver {
		t.Error("the way to names is gone")
	}
	if r.read(t, "etc/quaymaster/conf.d/50-image.yaml") != settings {
		t.Error("the configuration of the image is gone")
	}
	before := r.digests(t)
	r.run(t, false, provision)
	if again := r.digests(t); !slices.Equal(before, again) {
		t.Errorf("a second time changes the image: %q", difference(before, again))
	}
}

// checkImage looks at what every image is.
func (r *root) checkImage(t *testing.T) {
	t.Helper()
	for _, unit := range units {
		if !r.has("etc/systemd/system/" + unit) {
			t.Errorf("not enabled: %s", unit)
		}
	}
	if !strings.Contains(r.read(t, "etc/docker/daemon.json"), `"/usr/bin/quaymaster-runtime"`) {
		t.Error("the gate is not in daemon.json")
	}
	for path := range used {
		switch path {
		case "etc/machine-id", "var/log/syslog":
			if text := r.read(t, path); text != "" {
				t.Errorf("/%s: %q", path, text)
			}
		default:
			if r.has(path) {
				t.Errorf("still there: /%s", path)
			}
		}
	}
	if target, err := os.Readlink(r.path("etc/systemd/system/swap.target")); target != "/dev/null" {
		t.Errorf("swap is left to itself: %q, %v", target, err)
	}
	if r.has("usr/sbin/policy-rc.d") {
		t.Error("services are still kept from starting")
	}
	r.run(t, false, "dpkg --audit")
	if said, code := check(t, r.dir); code != 0 {
		t.Errorf("the check from outside:\n%s", said)
	}
}

// TestTwoImagesAreTheSame: whatever a package or the script makes at random while
// an image is made would be the same on all its machines, and differs here.
func TestTwoImagesAreTheSame(t *testing.T) {
	var all [2][]string
	for i := range all {
		r := newRoot(t)
		r.run(t, true, provision)
		all[i] = r.digests(t)
	}
	if differs := difference(all[0], all[1]); len(differs) > 0 {
		t.Errorf("these differ: %q", differs)
	}
}

// digests are the files of the image with their contents, but for caches of
// linkers that carry times.
func (r *root) digests(t *testing.T) []string {
	t.Helper()
	return strings.Split(strings.TrimSpace(output(t, "sh", "-c",
		`cd "$1" && find . -xdev -path ./proc -prune -o -type f ! -path ./var/cache/ldconfig/aux-cache -print0 | sort -z | xargs -0 sha256sum`, "sh", r.dir)), "\n")
}

func difference(a, b []string) (lines []string) {
	for _, line := range slices.Concat(a, b) {
		if slices.Contains(a, line) != slices.Contains(b, line) {
			lines = append(lines, line)
		}
	}
	return lines
}

// TestOptions: an image whose engine comes by other means, without the gate; and
// a host that is made where it stands.
func TestOptions(t *testing.T) {
	r := newRoot(t)
	// Where the Vault is, the instance's tags will say.
	r.write(t, "etc/quaymaster/conf.d/50-image.yaml", settings[strings.Index(settings, "grants"):], 0o600)
	r.write(t, "etc/fstab", "/dev/vdb none swap sw 0 0\n", 0o644)
	r.write(t, "etc/machine-id", used["etc/machine-id"], 0o444)
	said := r.run(t, true, provision+" --no-docker --gate none --keep-swap --keep-identity")
	if r.has("usr/sbin/dockerd") || r.has("etc/docker/daemon.json") || r.has("etc/systemd/system/swap.target") || strings.Contains(r.read(t, "etc/fstab"), "#") {
		t.Error("an engine, a gate, or swap was touched")
	}
	if r.read(t, "etc/machine-id") != used["etc/machine-id"] || !strings.Contains(said, "no image may be made from it") {
		t.Errorf("a host was made to an image:\n%s", said)
	}
	if !r.has("etc/systemd/system/" + units[0]) {
		t.Error("the units are not enabled")
	}
	r.write(t, "var/lib/docker/image/overlay2/repositories.json", "{}", 0o600)
	r.write(t, "var/lib/docker/engine-id", "x", 0o600)
	r.run(t, false, provision+" --no-docker --gate none --keep-images")
	if !r.has("var/lib/docker/image/overlay2/repositories.json") || r.has("var/lib/docker/engine-id") {
		t.Error("images went, or what is not an image stayed")
	}
	r.write(t, "var/lib/docker/containers/abc/config.v2.json", "{}", 0o600)
	if said, err := r.try(false, provision+" --no-docker --gate none --keep-images"); err == nil || !strings.Contains(said, "the container abc is there") {
		t.Errorf("%v\n%s", err, said)
	}
}

// TestEachFailureSaysWhatToDo, and none leaves services kept from starting.
func TestEachFailureSaysWhatToDo(t *testing.T) {
	r := newRoot(t)
	const small = " --no-docker --gate none"
	for _, c := range []struct{ before, run, words string }{
		{"true", "./provision.sh", "usage:"},
		{"true", provision + " --gate volume", "usage:"},
		{"true", "./provision.sh --package /nowhere.deb", "copy it there first"},
		{"true", "./provision.sh --package check.sh", "neither a .deb nor an .rpm"},
		{"true", "./provision.sh --package quaymaster-*.rpm", "give the deb"},
		{"chmod 0755 /tmp/quaymaster-image", "setpriv --reuid 65534 --clear-groups /bin/bash ./provision.sh --package x.deb", "run it as root"},
		{"echo x >/tmp/quaymaster-image/x.deb", "./provision.sh --package x.deb" + small, "no package of Debian"},
		{"true", "mv check.sh check; " + provision, "copy all of packaging/image"},
		{"mv check check.sh; mkdir -p /etc/quaymaster/conf.d; echo 'vault: [' >/etc/quaymaster/conf.d/50-image.yaml", provision + small, "mend /etc/quaymaster"},
		{"rm /etc/quaymaster/conf.d/50-image.yaml; mkdir -p /etc/docker; echo '{' >/etc/docker/daemon.json", provision + " --no-docker", "the runtime gate is not entered"},
		{"rm /etc/docker/daemon.json; systemctl mask quaymaster.socket", provision + small, "systemctl unmask"},
		{"systemctl unmask quaymaster.socket; mkdir -p /etc/nginx; echo '-----BEGIN PRIVATE KEY-----' >/etc/nginx/k.pem", provision + small, "/etc/nginx/k.pem: it holds a private key"},
	} {
		said, err := r.try(true, c.before+" && "+c.run)
		if err == nil || !strings.Contains(said, c.words) {
			t.Errorf("%s: %v, and of %q it says\n%s", c.run, err, c.words, said)
		}
		if r.has("usr/sbin/policy-rc.d") {
			t.Errorf("%s: services are kept from starting", c.run)
		}
	}
	if said, err := r.try(true, "rm -rf /var/lib/apt/lists/* /etc/apt/sources.list* /etc/nginx && "+provision); err == nil || !strings.Contains(said, "or install an engine and say --no-docker") {
		t.Errorf("no engine to be had: %v\n%s", err, said)
	}
}
