//go:build vm

package vm_test

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/internal/cloudsim"
	"github.com/quaymaster/quaymaster/test/realvault"
	"github.com/quaymaster/quaymaster/test/vm/machine"
)

// What the machines have outside.
const (
	metadata     = "169.254.169.254:80"
	vaultsPlace  = "169.254.0.100:8200"
	role         = "docker-host"
	serverID     = "vault.quaymaster.test"
	ca           = "/etc/quaymaster/vault-ca.pem"
	policy       = `path "kv/data/shop/*" { capabilities = ["read"] }`
	secretsPlace = "shop/timeline"
)

// outside is a Vault with a secret, behind a door.
type outside struct {
	vault *realvault.Vault
	door  *machine.Door
	hash  string // of the secret's value
}

func newOutside(t *testing.T, env ...string) *outside {
	t.Helper()
	o := &outside{vault: realvault.ForTest(t, realvault.Options{TLS: true, Env: env})}
	if err := errors.Join(o.vault.MountKV(t.Context(), "kv", 2), o.vault.WritePolicy(t.Context(), role, policy)); err != nil {
		t.Fatal(err)
	}
	o.put(t)
	var err error
	if o.door, err = machine.NewDoor(strings.TrimPrefix(o.vault.Address(), "https://")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { o.door.Close() })
	return o
}

// put gives the secret a new value.
func (o *outside) put(t *testing.T) {
	t.Helper()
	value := rand.Text()
	if _, err := o.vault.PutKV2(t.Context(), "kv", secretsPlace, map[string]any{"password": value}); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte(value))
	o.hash = hex.EncodeToString(sum[:])
}

// forwards leads a machine to the metadata that is its own, and to Vault.
func (o *outside) forwards(t *testing.T, service http.Handler) []machine.Forward {
	t.Helper()
	return []machine.Forward{{Guest: metadata, Host: serve(t, service)}, {Guest: vaultsPlace, Host: o.door.Address()}}
}

func serve(t *testing.T, handler http.Handler) (address string) {
	t.Helper()
	server, err := cloudsim.Start(handler, cloudsim.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	return strings.TrimPrefix(server.URL(), "http://")
}

// vaultBlock is the usual one of the configuration, changed as a story wants.
func vaultBlock(changes map[string]string) string {
	keys := map[string]string{"address": "https://" + vaultsPlace, "ca_file": ca, "tls_server_name": "localhost", "role": role, "server_id": serverID}
	for key, value := range changes {
		keys[key] = value
	}
	var parts []string
	for key, value := range keys {
		if value != "" {
			parts = append(parts, fmt.Sprintf("%s: %q", key, value))
		}
	}
	return "vault: {" + strings.Join(parts, ", ") + "}\n"
}

const grants = `refresh: 5s
grants:
  - name: timeline
    workloads: {compose.project: shop, compose.service: timeline}
    secrets: ["vault:kv/shop/timeline#password"]
`

// compose is a service whose first instruction shows that it has its secret,
// without showing it.
const compose = `version: "2.4"
services:
  timeline:
    image: images.test/busybox
    runtime: quaymaster
    restart: always
    stop_grace_period: 1s
    command: sh -c 'sha256sum /run/secrets/password; exec sleep 1000000'
    labels:
      quaymaster.secret.password: vault:kv/shop/timeline#password
`

// userData is what an instance is started with: a #cloud-config that writes the
// configuration and the compose file, and brings the project up.
func (o *outside) userData(t *testing.T, configuration string) string {
	t.Helper()
	authority, err := os.ReadFile(o.vault.CAFile())
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	b.WriteString("#cloud-config\nlocale: false\nwrite_files:\n") // it has no locales to make
	for _, file := range [][2]string{
		{"/etc/quaymaster/conf.d/10-host.yaml", configuration},
		{ca, string(authority)},
		{"/srv/shop/docker-compose.yml", compose},
	} {
		if file[1] != "" {
			fmt.Fprintf(&b, "- {path: %s, permissions: '0600', encoding: b64, content: %s}\n", file[0], base64.StdEncoding.EncodeToString([]byte(file[1])))
		}
	}
	b.WriteString("runcmd:\n- until docker image inspect images.test/busybox >/dev/null; do sleep 1; done\n- cd /srv/shop && docker-compose up -d --no-color\n")
	return b.String()
}

// Looks at the service. What it printed at its last start is its last line.
const (
	// cloudInitDone also where a module of it failed, which is looked at for itself.
	cloudInitDone = `cloud-init status --wait >/dev/null; [ -s /run/cloud-init/result.json ]`
	isUp          = `[ "$(timeout 20 docker inspect -f '{{.State.Running}}' plain)" = true ]`
	container     = `$(docker ps -aq --filter label=com.docker.compose.service=timeline)`
	runs          = `docker inspect -f '{{.State.Running}}' ` + container
	id            = `docker inspect -f '{{.Id}} {{.State.StartedAt}}' ` + container
)

// hasSecret: the first instruction of the service's last start saw it.
func (o *outside) hasSecret() string {
	return `[ "$(` + runs + `)" = true ] && docker logs --tail 1 ` + container + ` | grep -q ^` + o.hash
}

// seesSecret: the service sees it now.
func (o *outside) seesSecret() string {
	return `docker exec ` + container + ` sha256sum /run/secrets/password | grep -q ^` + o.hash
}

// hour is how long tokens live.
const hour = time.Hour
