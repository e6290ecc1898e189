package vault

import (
	"context"
	"fmt"
	"strings"

	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/providers"
)

// endpoint is how one kind of path is used.
type endpoint struct {
	fetch    func(p *Provider, ctx context.Context, m mount, ref secret.Ref) (secret.Secret, error)
	issues   bool // each use makes a secret of its own
	versions bool // ref.Version means something
	writes   bool // it takes the capability update, not read
}

var (
	shared  = endpoint{fetch: (*Provider).fetchRead}
	made    = endpoint{fetch: (*Provider).fetchRead, issues: true}
	written = endpoint{fetch: (*Provider).fetchWritten, issues: true, writes: true}
)

// endpoints says how the paths of an engine are used that begin, below the
// mount, with a segment: "pki issue" is pki/issue/…. What is not here is
// written to if the ref says so, else read; and what is read there is made for
// the reader unless others has the engine.
var endpoints = map[string]endpoint{
	"pki issue":             {fetch: (*Provider).fetchCertificate, issues: true, writes: true},
	"pki sign":              {fetch: (*Provider).fetchCertificate, issues: true, writes: true},
	"transit decrypt":       {fetch: (*Provider).fetchDecrypted, writes: true},
	"totp code":             {fetch: (*Provider).fetchCode},
	"ssh sign":              {fetch: (*Provider).fetchSSH, issues: true, writes: true},
	"ssh issue":             {fetch: (*Provider).fetchSSH, issues: true, writes: true},
	"ssh creds":             written,
	"kubernetes creds":      written,
	"identity oidc":         made,
	"database static-creds": shared,
	"aws static-creds":      shared,
	"azure static-creds":    shared,
	"ldap static-cred":      shared,
	"openldap static-cred":  shared,
	"ad creds":              shared,
}

// others are the engines whose remaining paths hold what is the same for all.
var others = map[string]endpoint{"pki": shared, "transit": shared, "totp": shared, "ssh": shared}

// endpoint finds how ref is used. It makes no request.
func (m mount) endpoint(ref secret.Ref) (endpoint, error) {
	switch m.kind {
	case "kv":
		return endpoint{fetch: (*Provider).fetchKV, issues: ref.Params.Has(unwrapParam), versions: m.version == "2"}, nil
	case "cubbyhole", "system":
		return endpoint{}, fmt.Errorf("%w: %s: %s holds no secrets for containers", providers.ErrInvalid, ref.Path, m)
	}
	if m.kind == "identity" && !strings.HasPrefix(m.below(ref), "oidc/token/") {
		return endpoint{}, fmt.Errorf("%w: %s: of the identity engine only oidc/token/<role> can be read", providers.ErrInvalid, ref.Path)
	}
	if e, known := endpoints[m.kind+" "+firstSegment(m, ref)]; known {
		return e, nil
	}
	if ref.Params.Get(methodParam) == "write" {
		return written, nil
	}
	if e, known := others[m.kind]; known {
		return e, nil
	}
	return made, nil
}

// firstSegment is what decides below the mount how a path is used. A
// certificate may be asked of one of several authorities, whose name then
// stands before: pki/issuer/<name>/issue/<role>.
func firstSegment(m mount, ref secret.Ref) string {
	segments := strings.Split(m.below(ref), "/")
	if m.kind == "pki" && segments[0] == "issuer" && len(segments) == 4 {
		segments = segments[2:]
	}
	if len(segments) == 1 {
		return "" // there is nothing to use below it
	}
	return segments[0]
}
