//go:build engines

package examples_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/test/engine"
	"github.com/quaymaster/quaymaster/test/host"
	"github.com/quaymaster/quaymaster/test/realvault"
)

// world is a host on which examples run as they lie here: a real engine, the
// agent with the identity of a cloud, and a Vault that the examples' own
// scripts have set up.
type world struct {
	*host.Host
	vault *server
	tools string // the directory of the commands vault and docker
	// seen is where the agent finds Vault, without TLS; empty: where that listens.
	seen string
}

// server is a real Vault as a host's Vault. prepare is all that it is bound by.
type server struct {
	*realvault.Vault
	prepare func(ctx context.Context, sts string) error
}

func (s *server) Name() string                               { return "a real Vault server" }
func (s *server) Bind(ctx context.Context, sts string) error { return s.prepare(ctx, sts) }

func (s *server) PutSecret(context.Context, string, string, map[string]any) error {
	return errors.New("the examples put their secrets themselves")
}

// options say what is in the world of one cloud.
type options struct {
	kind  engine.Kind
	vault realvault.Options
	// dir has the script that sets Vault up, and variables are what it asks for.
	dir       string
	variables []string
	// stand leads Vault's auth method to the stand-ins of the cloud.
	stand func(ctx context.Context, v *realvault.Vault, sts string) error
}

// start starts a world that ends with the test. No example is configured yet.
func start(t *testing.T, o options) *world {
	t.Helper()
	vault, err := realvault.Start(t.Context(), o.vault)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{vault: &server{Vault: vault}, tools: t.TempDir()}
	w.vault.prepare = func(ctx context.Context, sts string) error {
		if err := w.script(ctx, o.dir, "vault.sh", o.variables...); err != nil {
			return err
		}
		return o.stand(ctx, vault, sts)
	}
	if err := w.link(t.Context()); err != nil {
		t.Fatal(errors.Join(err, vault.Remove(context.WithoutCancel(t.Context()))))
	}
	if w.Host, err = host.Start(t.Context(), host.Options{Vault: w.vault, Engine: engine.Options{Kind: o.kind}}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the end of the engine's log:\n%s\nand of the agent's:\n%s", w.Engine.LogTail(20), lastLines(w.Log(), 20))
		}
		if err := w.Remove(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return w
}

// link makes the commands that the examples' scripts call.
func (w *world) link(ctx context.Context) error {
	vault, err := realvault.Binary(ctx)
	if err != nil {
		return err
	}
	built, err := builtEngine(ctx)
	return errors.Join(err,
		os.Symlink(vault, filepath.Join(w.tools, "vault")),
		os.Symlink(filepath.Join(built, "bin/docker"), filepath.Join(w.tools, "docker")))
}

// builtEngine is what test/engines has built, with the docker command in it.
func builtEngine(ctx context.Context) (dir string, err error) {
	if dir := os.Getenv("QUAYMASTER_ENGINE"); dir != "" {
		return dir, nil
	}
	found, err := exec.CommandContext(ctx, "../test/engines/build.sh", "--find").Output()
	if err != nil {
		return "", fmt.Errorf("docker and docker compose are not built: run `make engines` (%w)", err)
	}
	return strings.TrimSpace(string(found)), nil
}

// script runs one of an example's scripts where it lies, as the administrator of
// Vault and as a user of the engine.
func (w *world) script(ctx context.Context, dir, name string, variables ...string) error {
	_, err := w.shell(ctx, dir, variables, name)
	return err
}

// shell runs sh with the arguments, and returns what that wrote to stdout.
func (w *world) shell(ctx context.Context, dir string, variables []string, args ...string) (stdout string, err error) {
	built, err := builtEngine(ctx)
	if err != nil {
		return "", err
	}
	command := exec.CommandContext(ctx, "sh", args...)
	command.Dir = dir
	command.Env = append([]string{
		"PATH=" + w.tools + ":" + os.Getenv("PATH"), "HOME=" + w.tools, "DOCKER_CONFIG=" + filepath.Join(built, "cli"),
		"VAULT_ADDR=" + w.vault.Address(), "VAULT_TOKEN=" + w.vault.Client().Token(),
	}, variables...)
	if strings.HasPrefix(w.vault.Address(), "https:") {
		command.Env = append(command.Env, "VAULT_CACERT="+w.vault.CAFile())
	}
	if w.Host != nil {
		command.Env = append(command.Env, "DOCKER_HOST="+w.Engine.Host())
	}
	var talk strings.Builder
	command.Stderr = &talk
	out, err := command.Output()
	if err != nil {
		err = fmt.Errorf("%s: sh %s: %w: %s", dir, strings.Join(args, " "), err, talk.String())
	}
	return string(out), err
}

// value is one field of a secret that a script has put into Vault.
func (w *world) value(t *testing.T, name, field string) string {
	t.Helper()
	held, err := w.vault.Client().KVv2("kv").Get(soon(t), name)
	if err != nil {
		t.Fatal(err)
	}
	value, isText := held.Data[field].(string)
	if !isText || value == "" {
		t.Fatalf("kv/%s has no %s", name, field)
	}
	return value
}

// configure starts the agent with an example's configuration as it lies here.
// A file in conf.d says where this world's Vault and engine are, and more.
func (w *world) configure(t *testing.T, dir, more string) {
	t.Helper()
	example, err := os.ReadFile(filepath.Join(dir, "quaymaster.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	settings := "gate_timeout: 20s\n" + more
	switch {
	case !strings.Contains(string(example), "\nvault:"):
		settings += "providers: {}\n"
	case w.seen != "":
		settings += fmt.Sprintf("vault: {address: %q}\n", w.seen)
	default:
		settings += fmt.Sprintf("vault: {address: %q, ca_file: %q}\n", w.vault.Address(), w.vault.CAFile())
	}
	conf := filepath.Join(filepath.Dir(w.ConfigFile()), "conf.d")
	for _, step := range []func() error{
		func() error { return w.StopAgent(t.Context()) },
		func() error { return w.Configure(settings) },
		func() error { return os.MkdirAll(conf, 0o755) },
		func() error { return os.Rename(w.ConfigFile(), filepath.Join(conf, "test.yaml")) },
		func() error { return os.WriteFile(w.ConfigFile(), example, 0o600) },
		func() error { _, err := w.Install(t.Context()); return err },
		func() error { return w.StartAgent(t.Context()) },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
}

// soon is a context for one step.
func soon(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
