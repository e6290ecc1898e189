package vault

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/providers"
)

// fetchKV reads either version of the key-value engine.
func (p *Provider) fetchKV(ctx context.Context, m mount, ref secret.Ref) (secret.Secret, error) {
	unwrap, err := wantsUnwrap(ref)
	if err != nil {
		return secret.Secret{}, err
	}
	var found secret.Secret
	if m.version == "2" {
		found, err = p.readVersioned(ctx, m, ref)
	} else {
		found, err = p.readPlain(ctx, ref.Path)
	}
	if err != nil || !unwrap {
		return found, err
	}
	return p.unwrap(ctx, ref, found)
}

// readPlain reads version 1 of the key-value engine.
func (p *Provider) readPlain(ctx context.Context, path string) (secret.Secret, error) {
	got, err := p.read(ctx, path, nil)
	if err != nil {
		return secret.Secret{}, err
	}
	if got.nothing() || len(got.Data) == 0 {
		return secret.Secret{}, fmt.Errorf("%w: there is nothing at %s", providers.ErrNotFound, path)
	}
	fields, err := values(got.Data)
	return secret.Secret{Fields: fields, Lease: secret.Lease{IssuedAt: got.asked}}, err
}

// readVersioned reads version 2 of the key-value engine, whose answer wraps
// the fields in data and says in metadata which version they are.
func (p *Provider) readVersioned(ctx context.Context, m mount, ref secret.Ref) (secret.Secret, error) {
	if _, err := strconv.ParseUint(ref.Version, 10, 31); ref.Version != "" && err != nil {
		return secret.Secret{}, fmt.Errorf("%w: %s: version %q is not a number", providers.ErrInvalid, ref.Path, ref.Version)
	}
	query := url.Values{}
	if ref.Version != "" {
		query.Set("version", ref.Version)
	}
	path := m.path + "data/" + m.below(ref)
	got, err := p.read(ctx, path, query)
	if err != nil {
		return secret.Secret{}, err
	}
	if got.nothing() {
		return secret.Secret{}, fmt.Errorf("%w: there is nothing at %s%s", providers.ErrNotFound, path, atVersion(ref.Version))
	}
	metadata, _ := got.Data["metadata"].(map[string]any)
	data, _ := got.Data["data"].(map[string]any)
	if len(data) == 0 {
		return secret.Secret{}, fmt.Errorf("%w: %s%s was deleted or is empty", providers.ErrNotFound, path, atVersion(ref.Version))
	}
	fields, err := values(data)
	return secret.Secret{Version: fmt.Sprint(metadata["version"]), Fields: fields, Lease: secret.Lease{IssuedAt: got.asked}}, err
}

func atVersion(version string) string {
	if version == "" {
		return ""
	}
	return " in version " + version
}

// CurrentVersion implements providers.Versioner for version 2 of the key-value
// engine; of any other secret no version is known, which is ErrInvalid. It
// reads the secret's metadata, which needs a policy of its own: without it the
// error is ErrDenied, and Fetch may still be allowed.
func (p *Provider) CurrentVersion(ctx context.Context, ref secret.Ref) (string, error) {
	version, err := p.currentVersion(ctx, ref)
	if err != nil {
		return "", p.located(err)
	}
	return version, nil
}

func (p *Provider) currentVersion(ctx context.Context, ref secret.Ref) (string, error) {
	m, _, err := p.mountOf(ctx, ref)
	if err != nil {
		return "", err
	}
	if m.kind != "kv" || m.version != "2" || len(ref.Params) > 0 {
		return "", fmt.Errorf("%w: %s: only version 2 of the key-value engine tells which version is current", providers.ErrInvalid, ref.Path)
	}
	if ref.Version != "" {
		return ref.Version, nil // it names itself
	}
	path := m.path + "metadata/" + m.below(ref)
	got, err := p.read(ctx, path, nil)
	if err != nil {
		return "", err
	}
	if got.nothing() {
		return "", fmt.Errorf("%w: there is nothing at %s", providers.ErrNotFound, path)
	}
	current, isNumber := got.Data["current_version"].(json.Number)
	if !isNumber {
		return "", fmt.Errorf("%w: what %s answers is no metadata of a secret: is that Vault?", providers.ErrUnavailable, path)
	}
	if versions, _ := got.Data["versions"].(map[string]any); gone(versions[current.String()], p.now()) {
		return "", fmt.Errorf("%w: %s: version %s, the newest, was deleted", providers.ErrNotFound, path, current)
	}
	return current.String(), nil
}

// gone reports whether a version, as metadata describes it, cannot be read any
// more. One that is not described was pruned, or never was.
func gone(description any, now time.Time) bool {
	version, described := description.(map[string]any)
	if !described || version["destroyed"] == true {
		return true
	}
	text, _ := version["deletion_time"].(string)
	deleted, err := time.Parse(time.RFC3339Nano, strings.TrimSpace(text))
	return err == nil && !deleted.After(now) // it may be set ahead
}
