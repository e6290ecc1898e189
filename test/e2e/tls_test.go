//go:build integration

package e2e_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"

	"github.com/quaymaster/quaymaster/test/engine"
	"github.com/quaymaster/quaymaster/test/realvault"
)

// certificateGrants lets a service of the shop have certificates in its name,
// and no others.
const certificateGrants = `
grants:
  - name: certificates
    workloads: {compose.project: shop}
    secrets: ["vault:pki/*/web?common_name=*.prod.internal&ttl=*", "vault:kv/shop/**"]
`

// authority is an authority of Vault's at pki, whose role web gives
// certificates below prod.internal.
type authority struct{ file string } // of its certificate

func newAuthority(t *testing.T) authority {
	t.Helper()
	apps(t)
	vault := realVault()
	certificate, err := vault.EnablePKI(soon(t), "pki")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := vault.Client().Sys().UnmountWithContext(context.WithoutCancel(t.Context()), "pki"); err != nil {
			t.Error(err)
		}
	})
	role := realvault.PKIRole{Mount: "pki", Name: "web", Domains: []string{"prod.internal"}, TTL: time.Hour, MaxTTL: 2 * time.Hour}
	if err := vault.WritePKIRole(soon(t), role); err != nil {
		t.Fatal(err)
	}
	a := authority{filepath.Join(t.TempDir(), "ca.pem")}
	if err := os.WriteFile(a.file, []byte(certificate), 0o644); err != nil {
		t.Fatal(err)
	}
	return a
}

// service are the labels of a container of one service of the shop, as Compose
// sets them, and more.
func service(name string, more ...string) map[string]string {
	out := labels(more...)
	out["com.docker.compose.project"], out["com.docker.compose.service"] = "shop", name
	return out
}

// nginx serves one line over TLS, with what it finds at /run/secrets/tls.
const nginx = `server {
	listen 443 ssl;
	ssl_certificate /run/secrets/tls/tls.crt;
	ssl_certificate_key /run/secrets/tls/tls.key;
	location / { return 200 "served by $server_addr\n"; }
}
`

// startNginx starts a server with the labels, and returns its address.
func startNginx(t *testing.T, labels map[string]string) (id, address string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "tls.conf")
	if err := os.WriteFile(file, []byte(nginx), 0o644); err != nil {
		t.Fatal(err)
	}
	hostConfig := gated()
	hostConfig.Mounts = []mount.Mount{{Type: mount.TypeBind, Source: file, Target: "/etc/nginx/conf.d/tls.conf", ReadOnly: true}}
	id, err := h.Engine.Launch(soon(t), &container.Config{Image: engine.NginxImage, Labels: labels}, hostConfig)
	if id != "" {
		t.Cleanup(func() { remove(t, h, id) })
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, tail(h.Log()))
	}
	inspected, err := h.Engine.Client().ContainerInspect(soon(t), id)
	if err != nil {
		t.Fatal(err)
	}
	return id, inspected.NetworkSettings.Networks["bridge"].IPAddress
}

// ask asks the server at address for its page, as a client that knows it by name and
// trusts nobody but the authority.
func (a authority) ask(t *testing.T, name, address string) engine.Result {
	t.Helper()
	return a.client(t, "curl", "--silent", "--show-error", "--retry", "20", "--retry-connrefused", "--retry-delay", "1",
		"--cacert", "/ca.pem", "--resolve", name+":443:"+address, "https://"+name+"/")
}

// client runs a program in a container that has the authority's certificate.
func (a authority) client(t *testing.T, command ...string) engine.Result {
	t.Helper()
	result, err := h.Engine.Run(soon(t), &container.Config{Image: engine.NginxImage, Cmd: command},
		&container.HostConfig{Mounts: []mount.Mount{{Type: mount.TypeBind, Source: a.file, Target: "/ca.pem", ReadOnly: true}}})
	if err != nil {
		t.Fatal(err)
	}
	remove(t, h, result.ID)
	return result
}

// serial is the serial number of the certificate that the server at address
// presents to those who ask for name, verified.
func (a authority) serial(t *testing.T, name, address string) string {
	t.Helper()
	script := `openssl s_client -connect "$1:443" -servername "$2" -verify_hostname "$2" -CAfile /ca.pem -verify_return_error </dev/null 2>&1 |
		openssl x509 -noout -serial`
	result := a.client(t, "bash", "-o", "pipefail", "-c", script, "ask", address, name)
	serial, found := strings.CutPrefix(strings.TrimSpace(string(result.Stdout)), "serial=")
	if result.ExitCode != 0 || !found {
		t.Fatalf("%s at %s cannot be verified: %s%s", name, address, result.Stdout, result.Stderr)
	}
	return serial
}

// TestServerStartsWithItsCertificate starts two nginx, each of which has a
// certificate for the name of its service from its first instruction on, made
// at that start. A client that trusts Vault's authority verifies them.
func TestServerStartsWithItsCertificate(t *testing.T) {
	reconfigure(t, h, "gate_timeout: 20s\n"+certificateGrants)
	for how, path := range map[string]string{"key made by Vault": "pki/issue/web", "key made here": "pki/sign/web"} {
		t.Run(how, func(t *testing.T) {
			a := newAuthority(t)
			ref := "vault:" + path + "?common_name={{compose.service}}.prod.internal"
			serials := map[string]string{}
			for _, name := range []string{"web", "admin"} {
				_, address := startNginx(t, service(name, "quaymaster.secret.tls", ref))
				result := a.ask(t, name+".prod.internal", address)
				if page := string(result.Stdout); result.ExitCode != 0 || page != "served by "+address+"\n" {
					t.Errorf("%s answered %q: %s", name, page, result.Stderr)
				}
				if result := a.ask(t, "other.prod.internal", address); result.ExitCode != curlDistrusts {
					t.Errorf("asked for another name, curl ends with %d, want %d: %s", result.ExitCode, curlDistrusts, result.Stderr)
				}
				serials[a.serial(t, name+".prod.internal", address)] = name
			}
			if len(serials) != 2 {
				t.Errorf("two containers share a certificate: %v", serials)
			}
			fields, err := realVault().Answered(path)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Contains(fields, "certificate") {
				t.Fatalf("Vault's audit log knows no certificate from %s: %v", path, fields)
			}
			if crossed := slices.Contains(fields, "private_key"); crossed != (path == "pki/issue/web") {
				t.Errorf("Vault answered %s with %v", path, fields)
			}
		})
	}
}

// curlDistrusts is how curl ends when a server's certificate is not for the
// name, or not from a trusted authority (curl(1)).
const curlDistrusts = 60

// TestServerTakesUpItsNextCertificate lets certificates end within seconds: nginx
// gets each next one in place, with a SIGHUP, and serves it.
func TestServerTakesUpItsNextCertificate(t *testing.T) {
	reconfigure(t, h, "refresh: 1s\ngate_timeout: 20s\n"+certificateGrants)
	a := newAuthority(t)
	id, address := startNginx(t, service("web", "quaymaster.on-rotate", "signal:HUP",
		"quaymaster.secret.tls", "vault:pki/issue/web?common_name={{compose.service}}.prod.internal&ttl=30s"))
	if result := a.ask(t, "web.prod.internal", address); result.ExitCode != 0 {
		t.Fatalf("it does not serve: %s", result.Stderr)
	}
	serials := map[string]bool{}
	for deadline := time.Now().Add(3 * time.Minute); len(serials) < 3; {
		serials[a.serial(t, "web.prod.internal", address)] = true // and it is valid, every time
		if time.Now().After(deadline) {
			t.Fatalf("in three minutes it served %d certificates; the agent's log:\n%s", len(serials), tail(h.Log()))
		}
	}
	inspected, err := h.Engine.Client().ContainerInspect(soon(t), id)
	if err != nil || inspected.RestartCount != 0 || !inspected.State.Running {
		t.Errorf("the server was restarted, or ended: %+v, %v", inspected.State, err)
	}
}

// TestJavaReadsItsKeystores lets Java's own tool read what was delivered: the
// key with its chain in one store, the authority in the other.
func TestJavaReadsItsKeystores(t *testing.T) {
	reconfigure(t, h, "gate_timeout: 20s\n"+certificateGrants)
	newAuthority(t)
	if err := h.Vault.PutSecret(soon(t), "kv", "shop/keystore", map[string]any{"password": "open-sesame"}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ format, suffix, kind string }{{"jks", "jks", "JKS"}, {"pkcs12", "p12", "PKCS12"}} {
		for _, password := range []string{"changeit", "open-sesame"} {
			t.Run(c.format+" "+password, func(t *testing.T) {
				wants := service("web", "quaymaster.secret.ks", "vault:pki/issue/web?common_name={{compose.service}}.prod.internal", "quaymaster.format.ks", c.format)
				if password != "changeit" { // which is what Java assumes
					wants["quaymaster.password.ks"] = "vault:kv/shop/keystore#password"
				}
				key := listKeystore(t, wants, "keystore."+c.suffix, password)
				for _, want := range []string{"Keystore type: " + c.kind, "contains 1 entry", "Entry type: PrivateKeyEntry", "Certificate chain length: 2",
					"Owner: CN=web.prod.internal", "Issuer: CN=Quaymaster test root"} {
					if !strings.Contains(key, want) {
						t.Errorf("the keystore does not say %q:\n%s", want, key)
					}
				}
				trust := listKeystore(t, wants, "truststore."+c.suffix, password)
				for _, want := range []string{"contains 1 entry", "Entry type: trustedCertEntry", "Owner: CN=Quaymaster test root"} {
					if !strings.Contains(trust, want) {
						t.Errorf("the truststore does not say %q:\n%s", want, trust)
					}
				}
			})
		}
	}
}

// listKeystore starts a container whose first process is keytool, and returns
// what that says of a store.
func listKeystore(t *testing.T, wants map[string]string, file, password string) string {
	t.Helper()
	result, err := h.Engine.Run(soon(t), &container.Config{Image: engine.JavaImage, Labels: wants,
		Cmd: []string{"keytool", "-list", "-v", "-keystore", "/run/secrets/ks/" + file, "-storepass", password}}, gated())
	if err != nil {
		t.Fatalf("%v\n%s", err, tail(h.Log()))
	}
	remove(t, h, result.ID)
	if result.ExitCode != 0 {
		t.Errorf("keytool ends with %d: %s%s", result.ExitCode, result.Stdout, result.Stderr)
	}
	return string(result.Stdout)
}
