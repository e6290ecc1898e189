// Package realvault starts a real Vault server for tests and the demo.
//
// A Vault is one `vault server` process on a loopback port of its own, with
// its storage in a directory of its own, so that it can be killed and started
// again on the same address with the same content. It is initialised with one
// unseal key, unsealed and audited to a file: Requests counts what clients really asked.
//
// The binary is a `vault` on PATH or the one that test/vaultd/build.sh has
// built; see Binary.
package realvault

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/quaymaster/quaymaster/test/daemon"
)

// startTimeout bounds one start of the process, until it is unsealed.
const startTimeout = time.Minute

// Options of a Vault. The zero value listens without TLS.
type Options struct {
	// TLS makes the listener speak TLS only, with a certificate for
	// 127.0.0.1 and localhost from a CA of its own (CAFile).
	TLS bool
	// Env is added to the environment of the process, as "name=value":
	// SSL_CERT_FILE, for example, so that Vault trusts a stand-in's CA.
	Env []string
}

// Vault is a Vault server. Its methods must not be called concurrently,
// except for those that only talk to the server.
type Vault struct {
	binary    string
	dir       string
	env       []string
	address   string
	transport *http.Transport
	client    *api.Client
	unsealKey string
	process   *daemon.Daemon
}

// Start starts a server, initialises and unseals it, and enables its audit
// device. ctx bounds the start, not the life of the server: end that with
// Remove.
func Start(ctx context.Context, o Options) (_ *Vault, err error) {
	binary, err := Binary(ctx)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "realvault-")
	if err != nil {
		return nil, fmt.Errorf("make Vault's directory: %w", err)
	}
	v := &Vault{binary: binary, dir: dir, env: append(serverEnv(), o.Env...)}
	defer func() {
		if err != nil {
			err = errors.Join(err, v.Remove(context.WithoutCancel(ctx)))
		}
	}()
	if err := v.listen(o.TLS); err != nil {
		return nil, err
	}
	if err := v.launch(ctx); err != nil {
		return nil, err
	}
	return v, v.initialise(ctx)
}

// serverEnv keeps the variables of whoever runs the tests, proxies and
// VAULT_* settings above all, away from the server.
func serverEnv() []string {
	return []string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.TempDir()}
}

// listen chooses an address, writes the configuration and makes the client.
func (v *Vault) listen(useTLS bool) error {
	address, err := daemon.FreeAddress()
	if err != nil {
		return fmt.Errorf("choose an address for Vault: %w", err)
	}
	scheme, listener := "http", "tls_disable = true"
	v.transport = &http.Transport{Proxy: nil}
	if useTLS {
		pool, err := writeCertificates(v.dir)
		if err != nil {
			return err
		}
		scheme, listener = "https", fmt.Sprintf("tls_cert_file = %q\n  tls_key_file = %q", v.file("tls.crt"), v.file("tls.key"))
		v.transport.TLSClientConfig = clientTLS(pool)
	}
	v.address = scheme + "://" + address
	if err := os.WriteFile(v.file("vault.hcl"), []byte(v.config(address, listener)), 0o600); err != nil {
		return fmt.Errorf("write Vault's configuration: %w", err)
	}
	return v.connect()
}

// config is the server's configuration file. File storage rather than memory,
// so that a killed server comes back with its content.
func (v *Vault) config(address, listener string) string {
	return fmt.Sprintf(`
disable_mlock      = true
disable_clustering = true
api_addr           = %q
storage "file" {
  path = %q
}
listener "tcp" {
  address = %q
  %s
}
`, v.address, v.file("storage"), address, listener)
}

// connect makes the root client. It has no retries: a test wants to see the
// first answer.
func (v *Vault) connect() error {
	config := &api.Config{
		Address:    v.address,
		HttpClient: &http.Client{Transport: v.transport, Timeout: 30 * time.Second},
	}
	client, err := api.NewClient(config)
	if err != nil {
		return fmt.Errorf("make a client for %s: %w", v.address, err)
	}
	client.ClearNamespace() // NewClient reads VAULT_NAMESPACE
	client.ClearToken()     // and VAULT_TOKEN
	v.client = client
	return nil
}

// launch starts the process and waits until it answers.
func (v *Vault) launch(ctx context.Context) error {
	cmd := exec.Command(v.binary, "server", "-config="+v.file("vault.hcl"))
	cmd.Dir, cmd.Env = v.dir, v.env
	process, err := daemon.Start(cmd, v.LogFile())
	if err != nil {
		return err
	}
	v.process = process
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	return process.Until(ctx, func(ctx context.Context) error {
		_, err := v.client.Sys().SealStatusWithContext(ctx)
		return err
	})
}

// initialise makes the unseal key and the root token, unseals, and enables
// the audit device.
func (v *Vault) initialise(ctx context.Context) error {
	made, err := v.client.Sys().InitWithContext(ctx, &api.InitRequest{SecretShares: 1, SecretThreshold: 1})
	if err != nil {
		return fmt.Errorf("initialise Vault: %w", err)
	}
	v.unsealKey = made.Keys[0]
	v.client.SetToken(made.RootToken)
	if err := v.Unseal(ctx); err != nil {
		return err
	}
	audit := &api.EnableAuditOptions{Type: "file", Options: map[string]string{"file_path": v.auditFile()}}
	if err := v.client.Sys().EnableAuditWithOptionsWithContext(ctx, "file", audit); err != nil {
		return fmt.Errorf("enable the audit device: %w", err)
	}
	return nil
}

// Address is the server's URL. It stays the same when the server restarts.
func (v *Vault) Address() string { return v.address }

// Client is a client with the root token and without retries.
func (v *Vault) Client() *api.Client { return v.client }

// CAFile is the PEM file of the CA that signed the listener's certificate,
// or empty without TLS.
func (v *Vault) CAFile() string {
	if v.transport.TLSClientConfig == nil {
		return ""
	}
	return v.file("ca.crt")
}

// LogFile holds the output of the process, over all its restarts.
func (v *Vault) LogFile() string { return v.file("vault.log") }

func (v *Vault) file(name string) string { return filepath.Join(v.dir, name) }

// Seal seals the server: it answers every request but an unseal with 503.
func (v *Vault) Seal(ctx context.Context) error {
	if err := v.client.Sys().SealWithContext(ctx); err != nil {
		return fmt.Errorf("seal Vault: %w", err)
	}
	return nil
}

// Unseal unseals the server and waits until it serves requests.
func (v *Vault) Unseal(ctx context.Context) error {
	if _, err := v.client.Sys().UnsealWithContext(ctx, v.unsealKey); err != nil {
		return fmt.Errorf("unseal Vault: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	return v.process.Until(ctx, func(ctx context.Context) error {
		// health answers 200 only when the server is unsealed and active.
		health, err := v.client.Sys().HealthWithContext(ctx)
		if err != nil {
			return err
		}
		if health.Sealed || health.Standby {
			return fmt.Errorf("sealed: %v, standby: %v", health.Sealed, health.Standby)
		}
		return nil
	})
}

// Stop ends the server as an operator would (SIGTERM) and waits. Its address
// refuses connections until Restart.
func (v *Vault) Stop(ctx context.Context) error {
	defer v.transport.CloseIdleConnections()
	return v.process.Stop(ctx)
}

// Kill ends the server as a power cut would (SIGKILL) and waits.
func (v *Vault) Kill() error {
	defer v.transport.CloseIdleConnections()
	return v.process.Kill()
}

// Restart stops the server, if it runs, and starts it on the same address
// with the same storage, unsealed.
func (v *Vault) Restart(ctx context.Context) error {
	if err := v.Stop(ctx); err != nil {
		return err
	}
	if err := v.launch(ctx); err != nil {
		return err
	}
	return v.Unseal(ctx)
}

// Remove stops the server, if it runs, and deletes its directory.
func (v *Vault) Remove(ctx context.Context) error {
	var stopped error
	if v.process != nil {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		stopped = v.Stop(ctx)
	}
	return errors.Join(stopped, os.RemoveAll(v.dir))
}
