package static

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"sync"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/auth/vaultclient"
	"github.com/quaymaster/quaymaster/broker/secret"
)

// AppRoleOptions of a WrappedAppRole. All are needed but Mount.
type AppRoleOptions struct {
	Client *vaultclient.Client
	Mount  string // of the auth method; empty: "approle"
	Role   string // the role's name, whose secret ID is expected
	RoleID string // not secret by itself
	File   string // holds the wrapping token, and is removed once it was used
	Logger *slog.Logger
}

// WrappedAppRole makes evidence of a role ID and a secret ID that came wrapped
// in a file. The secret ID is unwrapped once and kept in memory for later
// logins; a new file replaces it. It implements auth.Attestor.
type WrappedAppRole struct {
	client       *vaultclient.Client
	mount, role  string
	roleID, file string
	log          *slog.Logger

	mu       sync.Mutex
	spent    secret.Value // the wrapping token that was used last
	verdict  error        // on it, when it was not as it should be
	secretID secret.Value
}

// NewWrappedAppRole checks options. It makes no request.
func NewWrappedAppRole(o AppRoleOptions) (*WrappedAppRole, error) {
	if o.Client == nil || o.Logger == nil {
		return nil, errors.New("a wrapped AppRole needs a client and a logger")
	}
	if o.Role == "" || o.RoleID == "" {
		return nil, errors.New("a wrapped AppRole needs the role's name and its role ID (vault read auth/approle/role/NAME/role-id)")
	}
	if err := checkName(o.File); err != nil {
		return nil, err
	}
	mount := strings.Trim(strings.TrimPrefix(o.Mount, "auth/"), "/")
	if mount == "" {
		mount = "approle"
	}
	return &WrappedAppRole{client: o.Client, mount: mount, role: o.Role, roleID: o.RoleID, file: o.File, log: o.Logger}, nil
}

// Attest implements auth.Attestor. An AppRole has no audience.
func (a *WrappedAppRole) Attest(ctx context.Context, _ string) (auth.Evidence, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.collect(ctx); err != nil {
		return auth.Evidence{}, fmt.Errorf("the wrapped secret ID in %s: %w", a.file, err)
	}
	about := "the AppRole " + a.role + ", by a secret ID wrapped in " + a.file
	return auth.Evidence{Method: "approle", Principal: loud + about, Static: about,
		Login: map[string]secret.Value{"role_id": secret.NewValue([]byte(a.roleID)), "secret_id": a.secretID}}, nil
}

// collect makes a.secretID what the file says, if there is a file.
func (a *WrappedAppRole) collect(ctx context.Context) error {
	token, err := read(a.file)
	if errors.Is(err, fs.ErrNotExist) {
		switch {
		case a.secretID.Len() > 0:
			return nil
		case a.verdict != nil:
			return a.verdict
		}
		return fmt.Errorf("there is no such file: write a wrapping token to it (vault write -wrap-ttl=5m -field=wrapping_token -f auth/%s/role/%s/secret-id), "+
			"with mode 600: %w", a.mount, a.role, auth.ErrNoIdentity)
	}
	if err != nil {
		return err
	}
	if a.spent.Equal(token) {
		return a.verdict // nil, when only the removal of the file did not succeed
	}
	secretID, err := a.unwrap(ctx, token)
	if errors.Is(err, auth.ErrUnavailable) {
		return err
	}
	a.spent, a.verdict = token, err
	if err != nil {
		return err
	}
	a.secretID = secretID
	a.remove()
	return nil
}

// remove leaves no file that a later start would take for a new one.
func (a *WrappedAppRole) remove() {
	if err := os.Remove(a.file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		a.log.Error("the wrapped secret ID was used, and its file cannot be removed: remove it, or the next start will take it for a theft",
			"file", a.file, "error", err)
	}
}

// unwrap looks where the wrapping token comes from before it trusts what is
// in it, as Vault's documentation on response wrapping advises.
func (a *WrappedAppRole) unwrap(ctx context.Context, token secret.Value) (secret.Value, error) {
	about, err := a.client.Anonymous().Logical().WriteWithContext(ctx, "sys/wrapping/lookup",
		map[string]any{"token": string(token.Reveal())}) // to ask Vault about it
	if err != nil {
		return secret.Value{}, a.notUnwrapped(err)
	}
	want := "/auth/" + a.mount + "/role/" + a.role + "/secret-id"
	if origin, _ := about.Data["creation_path"].(string); !strings.HasSuffix("/"+origin, want) {
		return secret.Value{}, fmt.Errorf("TAMPER ALARM: what is wrapped there comes from %q and not from %q: "+
			"somebody has put another token in its place: %w", origin, want[1:], auth.ErrRefused)
	}
	answer, err := a.client.With(token).Logical().WriteWithContext(ctx, "sys/wrapping/unwrap", nil)
	if err != nil {
		return secret.Value{}, a.notUnwrapped(err)
	}
	text := ""
	if answer != nil {
		text, _ = answer.Data["secret_id"].(string)
	}
	if text == "" {
		return secret.Value{}, fmt.Errorf("there is no secret ID in it: %w", auth.ErrRefused)
	}
	return secret.NewValue([]byte(text)), nil
}

// notUnwrapped: Vault forgets a wrapping token when it is used and when it
// ends, and tells nobody which of the two it was.
func (a *WrappedAppRole) notUnwrapped(err error) error {
	failure := vaultclient.Classify(err)
	if !failure.Decided() {
		return fmt.Errorf("unwrapping it: Vault at %s: %w: %w", a.client.Address(), failure, auth.ErrUnavailable)
	}
	return fmt.Errorf("TAMPER ALARM: it was unwrapped before this agent could, or it ended: unless it is known to have ended, somebody else has "+
		"the secret ID: destroy it (look for sys/wrapping/unwrap in Vault's audit log), and write a new one: Vault at %s: %w: %w",
		a.client.Address(), failure, auth.ErrRefused)
}
