//go:build integration

package static_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/auth/static"
	"github.com/quaymaster/quaymaster/auth/vaultclient"
	"github.com/quaymaster/quaymaster/auth/vaultlogin"
	"github.com/quaymaster/quaymaster/test/realvault"
)

// newVault has an AppRole laptop, whose logins and tokens may read kv/shop.
func newVault(t *testing.T) *realvault.Vault {
	t.Helper()
	v := realvault.ForTest(t, realvault.Options{})
	ctx := t.Context()
	write := func(path string, data map[string]any) error {
		_, err := v.Client().Logical().WriteWithContext(ctx, path, data)
		return err
	}
	if err := errors.Join(
		v.WritePolicy(ctx, "shop", `path "kv/data/shop/*" { capabilities = ["read"] }`),
		v.MountKV(ctx, "kv", 2),
		v.Client().Sys().EnableAuthWithOptionsWithContext(ctx, "approle", &api.EnableAuthOptions{Type: "approle"}),
		write("auth/approle/role/laptop", map[string]any{"token_policies": "shop", "token_ttl": "1h"}),
		write("auth/approle/role/other", map[string]any{"token_policies": "shop"}),
	); err != nil {
		t.Fatal(err)
	}
	return v
}

// token is a new one that may read kv/shop.
func token(t *testing.T, v *realvault.Vault, ttl string, renewable bool) *api.SecretAuth {
	t.Helper()
	made, err := v.Client().Auth().Token().CreateWithContext(t.Context(), &api.TokenCreateRequest{
		Policies: []string{"shop"}, TTL: ttl, Renewable: &renewable, DisplayName: "alice"})
	if err != nil {
		t.Fatal(err)
	}
	return made.Auth
}

// wrapped is a wrapping token with the answer to a write.
func wrapped(t *testing.T, v *realvault.Vault, path string, data map[string]any) string {
	t.Helper()
	client, err := v.Client().Clone()
	if err != nil {
		t.Fatal(err)
	}
	client.SetToken(v.Client().Token())
	client.SetWrappingLookupFunc(func(string, string) string { return "5m" })
	answer, err := client.Logical().WriteWithContext(t.Context(), path, data)
	if err != nil {
		t.Fatal(err)
	}
	return answer.WrapInfo.Token
}

const secretIDs = "auth/approle/role/laptop/secret-id"

// login is a Source that runs, and its log.
type login struct {
	*vaultlogin.Source
	client *vaultclient.Client
	log    *buffer
}

type buffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// logIn runs a Source until the test or stop ends it.
func logIn(t *testing.T, v *realvault.Vault, make func(*vaultclient.Client, *slog.Logger) (auth.Attestor, error), mount string) (_ *login, stop func()) {
	t.Helper()
	client, err := vaultclient.New(vaultclient.Config{Address: v.Address()})
	if err != nil {
		t.Fatal(err)
	}
	log := &buffer{}
	logger := slog.New(slog.NewTextHandler(log, nil))
	attestor, err := make(client, logger)
	if err != nil {
		t.Fatal(err)
	}
	source, err := vaultlogin.New(vaultlogin.Options{Client: client, Attestor: attestor, Mount: mount, Role: "laptop", Logger: logger, RevokeOnShutdown: true})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := startRun(ctx, source)
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
		client.CloseIdleConnections()
	})
	t.Cleanup(stop)
	return &login{source, client, log}, stop
}

func startRun(ctx context.Context, source *vaultlogin.Source) <-chan error {
	ended := make(chan error, 1)
	go func() { ended <- source.Run(ctx) }()
	return ended
}

// token is the login's token, which must be there soon.
func (l *login) token(t *testing.T) (auth.Token, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	return l.Token(ctx)
}

// inSight checks that a login says everywhere what it rests on.
func (l *login) inSight(t *testing.T, token auth.Token, credential string) {
	t.Helper()
	if !strings.HasPrefix(token.Principal, "STATIC IDENTITY: "+credential) {
		t.Errorf("principal %q", token.Principal)
	}
	if state := l.State(); state.Static != credential || !state.LoggedIn || !strings.HasPrefix(state.Principal, "STATIC IDENTITY: ") {
		t.Errorf("%+v", state)
	}
	deadline := time.Now().Add(10 * time.Second)
	for _, want := range []string{`level=WARN msg="STATIC IDENTITY: this login rests on a static credential`, `msg="logged in to Vault"`, `principal="STATIC IDENTITY: ` + credential} {
		for !strings.Contains(l.log.String(), want) { // the token is handed out before it is logged
			if time.Now().After(deadline) {
				t.Errorf("%s is not in the log:\n%s", want, l.log)
				break
			}
			time.Sleep(time.Millisecond)
		}
	}
	if strings.Contains(l.log.String(), "hvs.") {
		t.Errorf("a token is in the log:\n%s", l.log)
	}
}

func tokenFile(file string) func(*vaultclient.Client, *slog.Logger) (auth.Attestor, error) {
	return func(*vaultclient.Client, *slog.Logger) (auth.Attestor, error) { return static.NewTokenFile(file) }
}

func TestTokenFile(t *testing.T) {
	v := newVault(t)
	first := token(t, v, "1h", true)
	file := write(t, first.ClientToken, 0o600)
	l, stop := logIn(t, v, tokenFile(file), "token")
	got, err := l.token(t)
	if err != nil {
		t.Fatal(err)
	}
	l.inSight(t, got, "a token in "+file)
	if !strings.HasSuffix(got.Principal, " (token-alice)") || got.Accessor != first.Accessor || !got.Renewable || got.TTL < 59*time.Minute || got.TTL > time.Hour || len(got.Policies) != 2 {
		t.Errorf("%+v", got)
	}

	// Revoked, it is refused; a new one in the file is found.
	if err := v.Client().Auth().Token().RevokeAccessorWithContext(t.Context(), first.Accessor); err != nil {
		t.Fatal(err)
	}
	if retry, err := l.Refused(t.Context(), got); !retry || err != nil {
		t.Errorf("retry %v, %v", retry, err)
	}
	_, err = l.token(t)
	clean(t, err, auth.ErrRefused, "Vault at "+v.Address()+": a token in "+file+" has ended or was revoked: put a new one there")
	if state := l.State(); state.LoggedIn || state.Static != "a token in "+file {
		t.Errorf("%+v", state)
	}
	second := token(t, v, "6s", true)
	if err := os.WriteFile(file, []byte(second.ClientToken), 0o600); err != nil {
		t.Fatal(err)
	}
	for err != nil { // the loop tries again by itself
		got, err = l.token(t)
	}
	if got.Accessor != second.Accessor {
		t.Errorf("%+v", got)
	}

	// The token is renewed, and is somebody's, who may need it after the agent
	// has ended.
	for ends := l.State().Expires; !l.State().Expires.After(ends); {
		time.Sleep(time.Millisecond)
	}
	stop()
	if _, err := v.Client().Auth().Token().LookupAccessorWithContext(t.Context(), second.Accessor); err != nil {
		t.Errorf("the token was revoked with the agent: %v", err)
	}
}

// A token that is at its end and cannot be renewed is used until then, and
// asked about no more.
func TestTokenFileThatCannotBeRenewed(t *testing.T) {
	v := newVault(t)
	file := write(t, token(t, v, "5s", false).ClientToken, 0o600)
	l, _ := logIn(t, v, tokenFile(file), "token")
	if _, err := l.token(t); err != nil {
		t.Fatal(err)
	}
	var err error
	for err == nil { // until it has ended
		_, err = l.Token(t.Context())
		if state := l.State(); state.Err != nil && state.LoggedIn {
			clean(t, state.Err, auth.ErrRefused, "cannot be renewed for longer: put a new one there")
		}
		time.Sleep(10 * time.Millisecond)
	}
	clean(t, err, auth.ErrRefused)
	if n, err := v.Requests("auth/token/lookup-self", ""); err != nil || n > 2 {
		t.Errorf("%d look-ups, %v", n, err)
	}
}

func TestTokenFileThatVaultDoesNotKnow(t *testing.T) {
	v := newVault(t)
	file := write(t, mark, 0o600)
	l, _ := logIn(t, v, tokenFile(file), "token")
	_, err := l.token(t)
	clean(t, err, auth.ErrRefused, "has ended or was revoked")
}

// appRole is the laptop's, with its secret ID wrapped in a file.
func appRole(t *testing.T, v *realvault.Vault, file string) func(*vaultclient.Client, *slog.Logger) (auth.Attestor, error) {
	t.Helper()
	answer, err := v.Client().Logical().ReadWithContext(t.Context(), "auth/approle/role/laptop/role-id")
	if err != nil {
		t.Fatal(err)
	}
	roleID := answer.Data["role_id"].(string)
	return func(client *vaultclient.Client, logger *slog.Logger) (auth.Attestor, error) {
		return static.NewWrappedAppRole(static.AppRoleOptions{Client: client, Role: "laptop", RoleID: roleID, File: file, Logger: logger})
	}
}

func TestWrappedAppRole(t *testing.T) {
	v := newVault(t)
	file := write(t, wrapped(t, v, secretIDs, nil), 0o600)
	l, _ := logIn(t, v, appRole(t, v, file), "approle")
	got, err := l.token(t)
	if err != nil {
		t.Fatal(err)
	}
	l.inSight(t, got, "the AppRole laptop, by a secret ID wrapped in "+file)
	if got.TTL != time.Hour || !got.Renewable {
		t.Errorf("%+v", got)
	}
	if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file is still there: %v", err)
	}

	// A later login needs no file.
	if err := v.Client().Auth().Token().RevokeAccessorWithContext(t.Context(), got.Accessor); err != nil {
		t.Fatal(err)
	}
	if retry, err := l.Refused(t.Context(), got); !retry || err != nil {
		t.Errorf("retry %v, %v", retry, err)
	}
	if again, err := l.token(t); err != nil || again.Accessor == got.Accessor {
		t.Errorf("%+v, %v", again, err)
	}
}

func TestWrappedAppRoleAlarms(t *testing.T) {
	v := newVault(t)
	for name, c := range map[string]struct {
		file func(t *testing.T) string
		want string
	}{
		"used before": {func(t *testing.T) string {
			taken := wrapped(t, v, secretIDs, nil)
			if _, err := v.Client().Logical().UnwrapWithContext(t.Context(), taken); err != nil { // by a thief
				t.Fatal(err)
			}
			return write(t, taken, 0o600)
		}, "TAMPER ALARM: it was unwrapped before this agent could, or it ended"},
		"another role's": {func(t *testing.T) string {
			return write(t, wrapped(t, v, "auth/approle/role/other/secret-id", nil), 0o600)
		}, `TAMPER ALARM: what is wrapped there comes from "auth/approle/role/other/secret-id" and not from "` + secretIDs + `"`},
		"made up": {func(t *testing.T) string {
			return write(t, wrapped(t, v, "sys/wrapping/wrap", map[string]any{"secret_id": "x"}), 0o600)
		}, `TAMPER ALARM: what is wrapped there comes from "sys/wrapping/wrap"`},
	} {
		t.Run(name, func(t *testing.T) {
			file := c.file(t)
			l, _ := logIn(t, v, appRole(t, v, file), "approle")
			before, err := v.Requests("sys/wrapping/lookup", "")
			if err != nil {
				t.Fatal(err)
			}
			for range 3 {
				_, err = l.token(t)
				clean(t, err, auth.ErrRefused, "the wrapped secret ID in "+file, c.want)
			}
			if after, err := v.Requests("sys/wrapping/lookup", ""); err != nil || after > before+1 {
				t.Errorf("a token that is known to be bad is looked up again: %d times, %v", after-before, err)
			}
			if !strings.Contains(l.log.String(), "level=ERROR") || !strings.Contains(l.log.String(), "TAMPER ALARM") {
				t.Errorf("no alarm in the log:\n%s", l.log)
			}
			if err := os.WriteFile(file, []byte(wrapped(t, v, secretIDs, nil)), 0o600); err != nil {
				t.Fatal(err)
			}
			for err != nil { // a good one is found
				_, err = l.token(t)
			}
		})
	}
}
