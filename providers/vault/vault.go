// Package vault reads secrets from HashiCorp Vault.
//
// A ref's path is the path that Vault's own command line takes: the mount,
// then the path below it. What the mount is, and whether it is version 1 or 2
// of the key-value engine, is asked of Vault once and remembered.
package vault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/auth/vaultclient"
	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/providers"
)

// Provider reads from one Vault. It implements providers.Provider.
type Provider struct {
	client *vaultclient.Client
	tokens auth.TokenSource
	now    func() time.Time

	mu     sync.Mutex
	mounts map[string]mount // by path with its trailing slash
}

// mount is what Vault says of one secrets engine.
type mount struct {
	path    string // with its trailing slash
	kind    string // "kv"
	version string // of the key-value engine: "1" or "2"
}

// New returns a provider that reads with the tokens of a source.
func New(client *vaultclient.Client, tokens auth.TokenSource, now func() time.Time) *Provider {
	return &Provider{client: client, tokens: tokens, now: now, mounts: map[string]mount{}}
}

// Fetch implements providers.Provider.
func (p *Provider) Fetch(ctx context.Context, ref secret.Ref) (secret.Secret, error) {
	ref = ref.Whole()
	found, err := p.fetch(ctx, ref)
	if err != nil {
		return secret.Secret{}, fmt.Errorf("Vault at %s: %w", p.client.Address(), err)
	}
	found.Ref = ref
	return found, nil
}

func (p *Provider) fetch(ctx context.Context, ref secret.Ref) (secret.Secret, error) {
	m, remembered, err := p.mountOf(ctx, ref)
	if err != nil {
		return secret.Secret{}, err
	}
	found, err := p.read(ctx, m, ref)
	if !remembered || err == nil || errors.Is(err, providers.ErrUnavailable) {
		return found, err
	}
	// The mount may have been replaced by one of the other version, whose paths
	// are others: then this one is not there, or no policy allows it.
	p.forget(m)
	now, _, lookupErr := p.mountOf(ctx, ref)
	if lookupErr != nil {
		return secret.Secret{}, lookupErr
	}
	if now == m {
		return secret.Secret{}, err
	}
	return p.read(ctx, now, ref)
}

func (p *Provider) read(ctx context.Context, m mount, ref secret.Ref) (secret.Secret, error) {
	if m.kind != "kv" {
		return secret.Secret{}, fmt.Errorf("%w: %s: the mount %s is of type %q, and only the key-value engine (kv) can be read",
			providers.ErrInvalid, ref.Path, m.path, m.kind)
	}
	if len(ref.Params) > 0 {
		return secret.Secret{}, fmt.Errorf("%w: %s: a key-value secret takes no parameters", providers.ErrInvalid, ref.Path)
	}
	below := strings.TrimPrefix(ref.Path, m.path)
	if m.version == "2" {
		return p.readVersioned(ctx, m.path, below, ref.Version)
	}
	if ref.Version != "" {
		return secret.Secret{}, fmt.Errorf("%w: %s: the mount %s is of version 1 of the key-value engine, which keeps no versions: leave out @%s",
			providers.ErrInvalid, ref.Path, m.path, ref.Version)
	}
	return p.readPlain(ctx, m.path+below)
}

// readPlain reads version 1 of the key-value engine.
func (p *Provider) readPlain(ctx context.Context, path string) (secret.Secret, error) {
	issued := p.now()
	answer, err := p.request(ctx, path, nil)
	if err != nil {
		return secret.Secret{}, err
	}
	if answer == nil || len(answer.Data) == 0 {
		return secret.Secret{}, fmt.Errorf("%w: there is nothing at %s", providers.ErrNotFound, path)
	}
	fields, err := values(answer.Data)
	return secret.Secret{Fields: fields, Lease: secret.Lease{IssuedAt: issued}}, err
}

// readVersioned reads version 2 of the key-value engine, whose answer wraps
// the fields in data and says in metadata which version they are.
func (p *Provider) readVersioned(ctx context.Context, mountPath, below, version string) (secret.Secret, error) {
	if _, err := strconv.ParseUint(version, 10, 31); version != "" && err != nil {
		return secret.Secret{}, fmt.Errorf("%w: %s%s: version %q is not a number", providers.ErrInvalid, mountPath, below, version)
	}
	query := url.Values{}
	if version != "" {
		query.Set("version", version)
	}
	issued := p.now()
	path := mountPath + "data/" + below
	answer, err := p.request(ctx, path, query)
	if err != nil {
		return secret.Secret{}, err
	}
	if answer == nil {
		return secret.Secret{}, fmt.Errorf("%w: there is nothing at %s%s", providers.ErrNotFound, path, atVersion(version))
	}
	metadata, _ := answer.Data["metadata"].(map[string]any)
	data, _ := answer.Data["data"].(map[string]any)
	if len(data) == 0 {
		return secret.Secret{}, fmt.Errorf("%w: %s%s was deleted or is empty", providers.ErrNotFound, path, atVersion(version))
	}
	fields, err := values(data)
	return secret.Secret{Version: fmt.Sprint(metadata["version"]), Fields: fields, Lease: secret.Lease{IssuedAt: issued}}, err
}

func atVersion(version string) string {
	if version == "" {
		return ""
	}
	return " in version " + version
}

// values turns what Vault keeps into bytes: a string as it is, anything else
// as its JSON text.
func values(data map[string]any) (map[string]secret.Value, error) {
	fields := make(map[string]secret.Value, len(data))
	for name, datum := range data {
		if text, isString := datum.(string); isString {
			fields[name] = secret.NewValue([]byte(text))
			continue
		}
		text, err := json.Marshal(datum)
		if err != nil {
			return nil, fmt.Errorf("%w: field %q has no JSON form", providers.ErrInvalid, name)
		}
		fields[name] = secret.NewValue(text)
	}
	return fields, nil
}

// mountOf finds the mount that ref's path lies in, and whether it was
// remembered from an earlier request.
func (p *Provider) mountOf(ctx context.Context, ref secret.Ref) (m mount, remembered bool, err error) {
	p.mu.Lock()
	for path, known := range p.mounts {
		if strings.HasPrefix(ref.Path, path) && len(path) > len(m.path) {
			m, remembered = known, true
		}
	}
	p.mu.Unlock()
	if remembered {
		return m, true, nil
	}
	answer, err := p.request(ctx, "sys/internal/ui/mounts/"+ref.Path, nil)
	if err != nil {
		return mount{}, false, err
	}
	if answer == nil {
		return mount{}, false, fmt.Errorf("%w: no secrets engine is mounted at %s", providers.ErrNotFound, ref.Path)
	}
	m.path, _ = answer.Data["path"].(string)
	m.kind, _ = answer.Data["type"].(string)
	if m.kind == "generic" { // the name of the key-value engine before it had versions
		m.kind = "kv"
	}
	options, _ := answer.Data["options"].(map[string]any)
	m.version, _ = options["version"].(string)
	if m.path == "" {
		return mount{}, false, fmt.Errorf("%w: which mount %s lies in is not what was answered: is that Vault?", providers.ErrUnavailable, ref.Path)
	}
	if !strings.HasPrefix(ref.Path, m.path) {
		return mount{}, false, fmt.Errorf("%w: %s names a mount, not a secret below it", providers.ErrInvalid, ref.Path)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mounts[m.path] = m
	return m, false, nil
}

func (p *Provider) forget(m mount) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.mounts, m.path)
}

// request makes one read. A refusal may mean that the token has died early
// (revoked, or its role re-created); then a new one is tried, once.
func (p *Provider) request(ctx context.Context, path string, query url.Values) (*api.Secret, error) {
	token, err := p.tokens.Token(ctx)
	if err != nil {
		return nil, noToken(path, err)
	}
	answer, failure := p.attempt(ctx, token, path, query)
	if failure != nil && failure.Kind == vaultclient.Denied {
		retry, err := p.tokens.Refused(ctx, token)
		if err != nil { // whether the token or the policy is the reason is not known
			return nil, noToken(path, err)
		}
		if retry {
			if token, err = p.tokens.Token(ctx); err != nil {
				return nil, noToken(path, err)
			}
			answer, failure = p.attempt(ctx, token, path, query)
		}
	}
	if failure != nil {
		return nil, fmt.Errorf("%w: reading %s: %w", decision(failure.Kind), path, failure)
	}
	return answer, nil
}

func (p *Provider) attempt(ctx context.Context, token auth.Token, path string, query url.Values) (*api.Secret, *vaultclient.Failure) {
	answer, err := p.client.With(token.Value).Logical().ReadWithDataWithContext(ctx, path, query)
	return answer, vaultclient.Classify(err)
}

// noToken says what a failed login means for a read.
func noToken(path string, err error) error {
	if errors.Is(err, auth.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return fmt.Errorf("%w: reading %s: no token: %w", providers.ErrUnavailable, path, err)
	}
	return fmt.Errorf("%w: reading %s: no token: %w", providers.ErrDenied, path, err)
}

// decision maps what Vault said to what its caller decides.
func decision(kind vaultclient.Kind) error {
	switch kind {
	case vaultclient.Invalid:
		return providers.ErrInvalid
	case vaultclient.Denied:
		return providers.ErrDenied
	case vaultclient.NotFound:
		return providers.ErrNotFound
	default:
		return providers.ErrUnavailable
	}
}
