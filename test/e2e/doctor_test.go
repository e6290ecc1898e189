//go:build integration

package e2e_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/quaymaster/quaymaster/internal/cloudsim"
	"github.com/quaymaster/quaymaster/internal/cloudsim/awssim"
	"github.com/quaymaster/quaymaster/test/host"
)

// finding is one line of the doctor's answer.
type finding struct{ Check, Status, Found, Remedy string }

// doctor has the doctor look at the shared host, under another configuration
// than the agent's if file is given. It checks what holds of every answer: each
// line that is not ok says what to do, and none shows a value.
func doctor(t *testing.T, file string) []finding {
	t.Helper()
	stdout, stderr, err := h.Quaymaster(soon(t), "doctor", "--json", "--config", file)
	var findings []finding
	if jsonErr := json.Unmarshal([]byte(stdout), &findings); jsonErr != nil {
		t.Fatalf("%v; %v; stdout: %s", jsonErr, err, stdout)
	}
	failed := slices.ContainsFunc(findings, func(f finding) bool { return f.Status == "failed" })
	if failed != (err != nil) || stderr != "" {
		t.Errorf("something failed: %v; the command: %v, stderr %q", failed, err, stderr)
	}
	for _, f := range findings {
		if (f.Status == "ok") != (f.Remedy == "") || f.Found == "" {
			t.Errorf("%+v", f)
		}
	}
	if strings.Contains(stdout, password) {
		t.Error("a value is shown")
	}
	return findings
}

// line is the finding of a check that is not ok, else its first.
func line(findings []finding, check string) (found finding) {
	for _, f := range findings {
		if f.Check == check && (found.Check == "" || f.Status != "ok") {
			found = f
		}
	}
	return found
}

// configured writes a configuration that says what the agent's says, and more,
// except for the keys that more has, and for Vault where more has providers.
func configured(t *testing.T, more string) (file string) {
	t.Helper()
	content, err := os.ReadFile(h.ConfigFile())
	if err != nil {
		t.Fatal(err)
	}
	var kept strings.Builder
	skipping := false
	for text := range strings.Lines(string(content)) {
		if key, _, isKey := strings.Cut(text, ":"); isKey && !strings.HasPrefix(text, " ") {
			skipping = strings.Contains("\n"+more, "\n"+key+":") || key == "vault" && strings.Contains(more, "\nproviders:")
		}
		if !skipping {
			kept.WriteString(text)
		}
	}
	file = filepath.Join(t.TempDir(), "quaymaster.yaml")
	if err := os.WriteFile(file, []byte(kept.String()+more+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestDoctorOnAHostThatIsWell: nothing failed, what stays to be said is what is
// so on this host, and no token of the doctor's is left.
func TestDoctorOnAHostThatIsWell(t *testing.T) {
	vault := h.Vault.(*host.RealVault)
	before, err := vault.Requests("auth/token/revoke-self", "update")
	if err != nil {
		t.Fatal(err)
	}
	warnings := []string{
		"runtime gate",             // it is not the default
		"live-restore",             // off
		"units",                    // no systemd
		"metadata from containers", // hop limit 64, on loopback
	}
	var order []string
	for _, f := range doctor(t, h.ConfigFile()) {
		order = append(order, f.Check)
		if want := map[bool]string{true: "warning", false: "ok"}[slices.Contains(warnings, f.Check)]; f.Status != want {
			t.Errorf("want %s: %+v", want, f)
		}
	}
	if want := "configuration, identity, metadata, clock, vault vault, login vault, grant shop, grant shop, engine, runtime gate, volume plugin, cdi, " +
		"live-restore, userns-remap, exec-root, agent, memory, swap, units, metadata from containers, audit, state, boot cache"; strings.Join(order, ", ") != want {
		t.Errorf("the order is %s", strings.Join(order, ", "))
	}
	after, err := vault.Requests("auth/token/revoke-self", "update")
	if err != nil || after != before+1 {
		t.Errorf("%d tokens were revoked, %v", after-before, err)
	}
}

// TestDoctorFindsWhatIsBroken breaks one thing at a time, and looks for the line
// that says so, and what to do.
func TestDoctorFindsWhatIsBroken(t *testing.T) {
	vault := h.Vault.(*host.RealVault)
	if err := vault.MountKV(t.Context(), "closed", 2); err != nil {
		t.Fatal(err)
	}
	block := func(more string) string {
		return fmt.Sprintf("vault: {address: %q, role: %s, server_id: %s, ca_file: %q%s}", vault.Address(), host.Role, host.ServerID, vault.CAFile(), more)
	}
	grant := func(pattern, more string) string {
		return fmt.Sprintf("grants: [{name: g, workloads: {name: x}, secrets: [%q]%s}]", pattern, more)
	}
	full := filledUp(t)
	for _, c := range []struct {
		name, more     string
		broken, mended func() error
		check, status  string
		found, remedy  string
		environment    string
	}{
		{name: "no such role", more: strings.Replace(block(""), "role: "+host.Role, "role: nobody", 1),
			check: "login vault", status: "failed", found: "nobody", remedy: "see in Vault that the role exists"},
		{name: "another server ID", more: strings.Replace(block(""), host.ServerID, "elsewhere", 1),
			check: "login vault", status: "failed", found: "Server-ID", remedy: "vault.server_id"},
		{name: "no auth method there", more: block(", mount: none"),
			check: "login vault", status: "failed", found: "auth/none", remedy: "vault.mount"},
		{name: "nobody at the address", more: strings.Replace(block(""), vault.Address(), "https://127.0.0.1:1", 1),
			check: "vault vault", status: "failed", found: "connection refused", remedy: "check vault.address"},
		{name: "an unknown authority", more: strings.Replace(block(""), fmt.Sprintf(", ca_file: %q", vault.CAFile()), "", 1),
			check: "vault vault", status: "failed", found: "not trusted", remedy: "vault.ca_file"},
		{name: "sealed", broken: func() error { return vault.Seal(t.Context()) }, mended: func() error { return vault.Unseal(t.Context()) },
			check: "vault vault", status: "failed", found: "sealed", remedy: "unseal"},
		{name: "metadata turned off", broken: func() error { h.IMDS.Set("/", awssim.TurnedOff); return nil }, mended: func() error { h.IMDS.Clear("/"); return nil },
			check: "metadata", status: "failed", found: "403", remedy: "--http-endpoint enabled"},
		{name: "an instance without a role", broken: func() error { h.IMDS.SetRole(""); return nil }, mended: func() error { h.IMDS.SetRole(host.Role); return nil },
			check: "identity", status: "failed", found: "aws", remedy: "instance profile"},
		{name: "IMDSv1", broken: func() error { h.IMDS.SetMode(awssim.TokensOptional); return nil }, mended: func() error { h.IMDS.SetMode(awssim.TokensRequired); return nil },
			check: "metadata from containers", status: "warning", found: "IMDSv1", remedy: "--http-tokens required"},
		{name: "a wrong clock", broken: func() error { h.IMDS.SetSkew(-time.Hour); return nil }, mended: func() error { h.IMDS.SetSkew(0); return nil },
			check: "clock", status: "warning", found: "ahead of its cloud's", remedy: "set it"},
		{name: "a secret that Vault denies", more: grant("vault:closed/db", ""),
			check: "grant g", status: "failed", found: "vault:closed/db", remedy: "permission"},
		{name: "a secret that nobody has put there", more: grant("vault:kv/shop/nothing", ""),
			check: "grant g", status: "warning", found: "kv/data/shop/nothing", remedy: "put the secret there"},
		{name: "many secrets that Vault denies", more: grant("vault:closed/**", ""),
			check: "grant g", status: "warning", found: "vault:closed/**", remedy: "vault token capabilities"},
		{name: "an engine that is not mounted", more: grant("vault:rabbit/creds/x", ""),
			check: "grant g", status: "failed", found: "nothing is mounted there", remedy: "permission"},
		{name: "a grant's own role that does not exist", more: grant("vault:kv/shop/db", ", vault: {role: nobody}"),
			check: "grant g", status: "failed", found: "nobody", remedy: "the grant's vault block"},
		{name: "no engine", more: "docker: {host: unix:///nowhere/docker.sock}",
			check: "engine", status: "failed", found: "/nowhere/docker.sock", remedy: "systemctl start docker"},
		{name: "another plugin's name", more: fmt.Sprintf("docker: {host: %q, plugin: nobody-has-it}", h.Engine.Host()),
			check: "volume plugin", status: "failed", found: "nobody-has-it.sock", remedy: "quaymaster-plugin.socket"},
		{name: "the gate is not installed", broken: func() error { _, err := h.Install(t.Context(), "--undo"); return err },
			mended: func() error { _, err := h.Install(t.Context()); return err },
			check:  "runtime gate", status: "failed", found: "not installed", remedy: "quaymaster install docker-runtime"},
		{name: "the gate's program is gone", broken: func() error { return installAndLose(t) },
			mended: func() error { _, err := h.Install(t.Context()); return err },
			check:  "runtime gate", status: "failed", found: "does not run", remedy: "install the package again"},
		{name: "no agent", more: "paths: {run: /nowhere/run, state: /nowhere/state}",
			check: "agent", status: "failed", found: "no agent runs there", remedy: "systemctl start quaymaster"},
		{name: "no memory filesystem", more: "paths: {run: /nowhere/run, state: /nowhere/state}",
			check: "memory", status: "warning", found: "no memory filesystem", remedy: "start the agent"},
		{name: "a state directory for all", more: fmt.Sprintf("paths: {run: /nowhere/run, state: %q}", t.TempDir()), // 0755
			check: "state", status: "failed", found: "open to others", remedy: "chmod 0700"},
		{name: "no plain audit file", more: fmt.Sprintf("audit: {file: %q}", t.TempDir()),
			check: "audit", status: "failed", found: "no plain file", remedy: "audit.file"},
		{name: "a full disk", more: fmt.Sprintf("audit: {file: %q}", full),
			check: "audit", status: "failed", found: "full", remedy: "make room"},
		{name: "a key that nobody answers for", more: "boot_cache: {key: aws-kms, key_id: alias/quaymaster}\n" + grant("vault:kv/shop/db", ", boot_cache: true"),
			environment: "AWS_ENDPOINT_URL_KMS=https://127.0.0.1:1",
			check:       "boot cache", status: "failed", found: "aws-kms", remedy: "runs without a boot cache"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.environment != "" {
				h.Environment = append(h.Environment, c.environment)
				defer func() { h.Environment = h.Environment[:len(h.Environment)-1] }()
			}
			if c.broken != nil {
				if err := c.broken(); err != nil {
					t.Fatal(err)
				}
				defer func() {
					if err := c.mended(); err != nil {
						t.Error(err)
					}
				}()
			}
			got := line(doctor(t, configured(t, c.more)), c.check)
			if got.Status != c.status || !strings.Contains(got.Found, c.found) || !strings.Contains(got.Remedy, c.remedy) {
				t.Errorf("want %s with %q and %q: %+v", c.status, c.found, c.remedy, got)
			}
		})
	}
}

// installAndLose installs a runtime that is gone afterwards.
func installAndLose(t *testing.T) error {
	program := filepath.Join(t.TempDir(), "quaymaster-runtime")
	if err := os.WriteFile(program, []byte("#!/bin/sh\n"), 0o755); err != nil {
		return err
	}
	if _, err := h.Install(t.Context(), "--runtime-path", program); err != nil {
		return err
	}
	return os.Remove(program)
}

// filledUp is a file on a disk that has no room.
func filledUp(t *testing.T) (file string) {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("none", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	if err := os.WriteFile(filepath.Join(dir, "ballast"), make([]byte, 64<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "audit.jsonl")
}

// TestDoctorAsksStores: each cloud's store, as it is and when it does not answer.
func TestDoctorAsksStores(t *testing.T) {
	for _, open := range stores[1:] { // the first is Vault
		store, err := open()
		if store != nil {
			t.Cleanup(func() {
				if err := store.Close(); err != nil {
					t.Error(err)
				}
			})
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Run(store.Name, func(t *testing.T) {
			if err := store.Put(t.Context(), "one", password); err != nil {
				t.Fatal(err)
			}
			before := h.Environment
			h.Environment, h.Namespace = append(slices.Clone(before), store.Environment...), store.Namespace
			defer func() { h.Environment, h.Namespace = before, nil }()
			name, _, _ := strings.Cut(store.Pattern, ":")
			file := configured(t, fmt.Sprintf("%sgrants: [{name: g, workloads: {name: x}, secrets: [%q, %q]}, {name: n, workloads: {name: x}, secrets: [%q]}]",
				store.Settings, store.Ref("one"), store.Pattern, store.Ref("nothing")))
			well := doctor(t, file)
			for check, want := range map[string]string{"store " + name: "ok", "grant g": "ok", "grant n": "warning"} {
				if got := line(well, check); got.Status != want {
					t.Errorf("want %s: %+v", want, got)
				}
			}
			store.Faults.Set("", cloudsim.Fault{Reset: true})
			defer store.Faults.Clear("")
			if got := line(doctor(t, file), "store "+name); got.Status != "failed" || !strings.Contains(got.Remedy, "route") {
				t.Errorf("it does not answer: %+v", got)
			}
		})
	}
}
