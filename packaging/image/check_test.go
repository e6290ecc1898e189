//go:build image

package image_test

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// A key of no use, put together here so that nobody's scanner takes this file
// for one that holds a key.
const pem = "-----BEGIN " + "PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIA\n-----END " + "PRIVATE KEY-----\n"

// dirt is what no image may hold: each alone is found, and named by its path and
// by these words.
var dirt = []struct{ path, text, words string }{
	{"etc/machine-id", "0123456789abcdef0123456789abcdef\n", "machine-id"},
	{"var/lib/dbus/machine-id", "0123456789abcdef0123456789abcdef\n", "machine-id"},
	{"etc/ssh/ssh_host_ed25519_key", "x", "host key"},
	{"var/lib/systemd/random-seed", "x", "seed"},
	{"boot/efi/loader/random-seed", "x", "seed"},
	{"var/lib/systemd/credential.secret", "x", "systemd-creds"},
	{"etc/docker/key.json", "{}", "key of the engine"},
	{"var/lib/docker/engine-id", "x", "this engine"},
	{"var/lib/docker/swarm/certificates/swarm-node.key", "x", "node of the swarm"},
	{"var/lib/docker/containers/abc/config.v2.json", "{}", "these containers"},
	{"var/lib/docker/volumes/db/_data/PG_VERSION", "15", "these volumes"},
	{"var/lib/docker/network/files/local-kv.db", "x", "network"},
	{"var/lib/cloud/instances/i-1/obj.pkl", "x", "this instance"},
	{"var/lib/cloud/data/instance-id", "i-1", "this instance"},
	{"var/lib/cloud/seed/nocloud/meta-data", "instance-id: x", "this instance"},
	{"etc/cloud/cloud.cfg.d/99-installer.cfg", "datasource:\n  None:\n    metadata: {}\n    userdata_raw: |\n      #cloud-config\n", "this instance"},
	{"etc/cloud/cloud.cfg.d/10-users.cfg", "users:\n- name: admin\n  ssh_authorized_keys: [x]\n", "these users"},
	{"var/lib/dhcp/dhclient.eth0.leases", "lease {}", "this address"},
	{"var/lib/NetworkManager/secret_key", "x", "DHCP"},
	{"etc/dhcpcd.duid", "x", "DHCP"},
	{"etc/udev/rules.d/70-persistent-net.rules", "x", "network card"},
	{"etc/nvme/hostid", "x", "client of storage"},
	{"etc/iscsi/initiatorname.iscsi", "InitiatorName=iqn.1993-08.org.debian:01:1\n", "client of storage"},
	{"etc/ssl/private/ssl-cert-snakeoil.key", pem, "a package made"},
	{"etc/default/instance_configs.cfg", "[Instance]\n", "Google's agent"},
	{"var/lib/waagent/provisioned", "x", "Azure's agent"},
	{"etc/hostname", "builder-7\n", "builder-7"},
	{"var/log/journal/0123/system.journal", "x", "journal"},
	{"var/lib/quaymaster/nonce", "x", "Quaymaster"},
	{"var/log/quaymaster/audit.jsonl", "{}\n", "Quaymaster"},
	{"etc/quaymaster/conf.d/00-instance.yaml", "identity: aws\n", "as this instance"},
	{"etc/quaymaster/quaymaster.yaml", "allow_static_identity: true\n", "static identity"},
	{"etc/shadow", "root:*:1::::::\nbob:$y$j9T$abc$def:1::::::\n", "password of bob"},
	{"etc/shadow", "root::1::::::\n", "root needs no password"},
	{"root/.ssh/authorized_keys", "ssh-ed25519 AAAA packer\n", "comes into every machine"},
	{"home/admin/.ssh/authorized_keys", "ssh-ed25519 AAAA packer\n", "comes into every machine"},
	{"home/admin/.ssh/id_ed25519", strings.ReplaceAll(pem, "PRIVATE", "OPENSSH PRIVATE"), "private key"},
	{"etc/nginx/tls/server.pem", pem, "private key"},
	{"srv/app/key with a space.pem", pem, "private key"},
	{"opt/app/config.json", `{"private_key": "` + strings.ReplaceAll(pem, "\n", `\n`) + `"}`, "private key"},
	{"etc/wireguard/wg0.conf", "[Interface]\nPrivateKey = " + strings.Repeat("A", 43) + "=\n", "private key"},
	{"root/bundle.p12", "x", "settings with secrets"},
	{"srv/app/.env", "PASSWORD=x\n", "settings with secrets"},
	{"home/admin/app/.env.production", "PASSWORD=x\n", "settings with secrets"},
	{"opt/app/settings", "key: AKIA" + strings.Repeat("A", 16) + "\n", "token or key"},
	{"etc/app.conf", "VAULT_TOKEN=hvs." + strings.Repeat("a", 30) + "\n", "token or key"},
	{"usr/local/etc/app.ini", "AccountKey=" + strings.Repeat("a", 86) + "==\n", "token or key"},
	{"root/.docker/config.json", `{"auths": {"registry": {"auth": "eDp5"}}}`, "registry"},
	{"root/.aws/credentials", "[default]\n", "AWS"},
	{"home/admin/.aws/sso/cache/1.json", "{}", "AWS"},
	{"root/.azure/msal_token_cache.json", "{}", "Azure"},
	{"root/.config/gcloud/application_default_credentials.json", "{}", "Google Cloud"},
	{"root/.netrc", "machine x\n", "password"},
	{"root/.git-credentials", "x", "password"},
	{"root/.vault-token", "x", "Vault"},
	{"root/.kube/config", "x", "cluster"},
	{"root/.npmrc", "//r/:_authToken=x\n", "token"},
	{"root/.bash_history", "ls\n", "typed"},
	{"etc/credstore/db", "x", "secret"},
	{"etc/NetworkManager/system-connections/office", "[wifi-security]\npsk=x\n", "password"},
}

// clean is what looks like the above and may stay.
var clean = map[string]string{
	"etc/machine-id":                         "",
	"etc/hostname":                           "localhost\n",
	"etc/shadow":                             "root:*:1::::::\nadmin:!:1::::::\nbob:!*:1::::::\n",
	"etc/ssl/certs/ca-certificates.crt":      "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
	"etc/ssh/ssh_host_ed25519_key":           "",
	"etc/ssh/sshd_config":                    "HostKey /etc/ssh/ssh_host_ed25519_key\n",
	"root/.ssh/authorized_keys":              "",
	"root/.docker/config.json":               `{"credsStore": "ecr-login", "auths": {"registry": {}}}`,
	"srv/app/.env.example":                   "PASSWORD=\n",
	"etc/cloud/cloud.cfg":                    "system_info:\n  default_user: {name: debian}\n  lock_passwd: true\nssh_deletekeys: true\n",
	"etc/iscsi/initiatorname.iscsi":          "GenerateName=yes\n",
	"etc/quaymaster/quaymaster.yaml":         "vault: {address: https://vault:8200, role: host}\n# allow_static_identity: true\n",
	"usr/share/doc/x/example.pem":            pem,
	"var/lib/docker/overlay2/1/diff/key":     pem,
	"usr/local/share/doc/aws":                "AKIA is how a key begins\n",
	"var/lib/cloud/scripts/per-boot/.keep":   "",
	"var/lib/systemd/catalog/database":       "x",
	"var/lib/dpkg/info/x.md5sums":            "x",
	"etc/apt/trusted.gpg.d/debian.asc":       "-----BEGIN PGP PUBLIC KEY BLOCK-----\n",
	"usr/lib/python3/test/ssl_key.pem":       pem,
	"etc/NetworkManager/NetworkManager.conf": "[main]\n",
}

// check runs check.sh as anybody would, and says what it said and how it ended.
func check(t *testing.T, dir string) (said string, code int) {
	t.Helper()
	out, err := exec.Command("./check.sh", dir).CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if exit != nil {
		return string(out), exit.ExitCode()
	}
	return string(out), 0
}

// TestEachKindIsFound: alone, in a root that is clean otherwise, and nothing
// besides it is named.
func TestEachKindIsFound(t *testing.T) {
	for _, d := range dirt {
		r := cleanRoot(t)
		r.write(t, d.path, d.text, 0o600)
		said, code := check(t, r.dir)
		if code != 1 || !strings.Contains(said, "check: /"+d.path) && !named(said, d.path) || !strings.Contains(said, d.words) {
			t.Errorf("%s: exit code %d, and of %q it says\n%s", d.path, code, d.words, said)
		}
		if strings.Count(said, "\n") != 2 {
			t.Errorf("%s: that one and the count should be said:\n%s", d.path, said)
		}
	}
}

// named reports whether a directory above is named.
func named(said, path string) bool {
	for cut := strings.LastIndex(path, "/"); cut > 0; cut = strings.LastIndex(path[:cut], "/") {
		if strings.Contains(said, "check: /"+path[:cut]+":") {
			return true
		}
	}
	return false
}

func cleanRoot(t *testing.T) *root {
	t.Helper()
	r := &root{t.TempDir()}
	for path, text := range clean {
		r.write(t, path, text, 0o600)
	}
	return r
}

// TestWhatMayStay: a check that is always against something is switched off.
func TestWhatMayStay(t *testing.T) {
	r := cleanRoot(t)
	if said, code := check(t, r.dir); code != 0 || said != "" {
		t.Errorf("exit code %d:\n%s", code, said)
	}
}

// TestAllAreNamed: the first finding does not hide the others, a link is not
// followed out of the image, and a place that is none is wrong usage.
func TestAllAreNamed(t *testing.T) {
	r := &root{t.TempDir()}
	for _, d := range dirt {
		r.write(t, d.path, d.text, 0o600)
	}
	said, _ := check(t, r.dir)
	for _, words := range []string{"machine-id", "host key", "Azure's agent", "/srv/app/key with a space.pem", "/home/admin/.ssh/id_ed25519", "root needs no password"} {
		if !strings.Contains(said, words) {
			t.Errorf("%q is not named:\n%s", words, said)
		}
	}
	outside := &root{t.TempDir()}
	if err := os.MkdirAll(outside.path("var/lib/dbus"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(r.path("etc/machine-id"), outside.path("var/lib/dbus/machine-id")); err != nil {
		t.Fatal(err)
	}
	if said, code := check(t, outside.dir); code != 0 {
		t.Errorf("a link: %s", said)
	}
	if said, code := check(t, r.path("nowhere")); code != 2 || !strings.Contains(said, "usage:") {
		t.Errorf("exit code %d: %s", code, said)
	}
}
