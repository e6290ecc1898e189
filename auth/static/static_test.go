package static_test

import (
	"bytes"
	"log/slog"
	"os"
	"strings"
	"testing"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/auth/static"
	"github.com/quaymaster/quaymaster/auth/vaultclient"
)

func TestTokenFileIsReadAnew(t *testing.T) {
	file := write(t, "  "+mark+"1\n", 0o600)
	attestor, err := static.NewTokenFile(link(t, file))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{mark + "1", mark + "2"} {
		evidence, err := attestor.Attest(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		if got := string(evidence.Login["token"].Reveal()); got != want || evidence.Method != auth.TokenMethod { // to compare
			t.Errorf("%q by %s", got, evidence.Method)
		}
		if !strings.HasPrefix(evidence.Principal, "STATIC IDENTITY: a token in /") || !strings.HasPrefix(evidence.Static, "a token in /") {
			t.Errorf("%q, %q", evidence.Principal, evidence.Static)
		}
		if err := os.WriteFile(file, []byte(mark+"2"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFilesThatAreNotUsed(t *testing.T) {
	client, err := vaultclient.New(vaultclient.Config{Address: "https://127.0.0.1:1"}) // asked, it would be unavailable
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range badFiles {
		t.Run(name, func(t *testing.T) {
			file := c.make(t)
			token, err := static.NewTokenFile(file)
			if err != nil {
				t.Fatal(err)
			}
			_, err = token.Attest(t.Context(), "")
			clean(t, err, auth.ErrNoIdentity, "the token in "+file+": ", c.want)
			wrapped, err := static.NewWrappedAppRole(static.AppRoleOptions{Client: client, Role: "laptop", RoleID: "id", File: file, Logger: slog.New(slog.DiscardHandler)})
			if err != nil {
				t.Fatal(err)
			}
			_, err = wrapped.Attest(t.Context(), "")
			clean(t, err, auth.ErrNoIdentity, "the wrapped secret ID in "+file+": ", c.want)
		})
	}
}

func TestVaultThatIsAwayUsesNothingUp(t *testing.T) {
	client, err := vaultclient.New(vaultclient.Config{Address: "https://127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	file := write(t, mark, 0o600)
	var log bytes.Buffer
	wrapped, err := static.NewWrappedAppRole(static.AppRoleOptions{Client: client, Role: "laptop", RoleID: "id", File: file, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		_, err = wrapped.Attest(t.Context(), "")
		clean(t, err, auth.ErrUnavailable, "unwrapping it: Vault at https://127.0.0.1:1: Vault cannot be reached")
	}
	if content, err := os.ReadFile(file); err != nil || string(content) != mark || log.Len() > 0 {
		t.Errorf("%v, %s", err, &log)
	}
}

func TestNewRefuses(t *testing.T) {
	client, err := vaultclient.New(vaultclient.Config{Address: "https://127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	good := static.AppRoleOptions{Client: client, Role: "laptop", RoleID: "id", File: "/run/token", Logger: slog.New(slog.DiscardHandler)}
	for want, change := range map[string]func(*static.AppRoleOptions){
		"write its whole path":         func(o *static.AppRoleOptions) { o.File = "token" },
		"role ID (vault read":          func(o *static.AppRoleOptions) { o.RoleID = "" },
		"needs the role's name":        func(o *static.AppRoleOptions) { o.Role = "" },
		"needs a client and a logger":  func(o *static.AppRoleOptions) { o.Client = nil },
		"a wrapped AppRole needs a cl": func(o *static.AppRoleOptions) { o.Logger = nil },
	} {
		o := good
		change(&o)
		if _, err := static.NewWrappedAppRole(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want %s", err, want)
		}
	}
	if _, err := static.NewTokenFile("~/.vault-token"); err == nil || !strings.Contains(err.Error(), "write its whole path") {
		t.Error(err)
	}
}
