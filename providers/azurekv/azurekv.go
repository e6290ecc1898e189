// Package azurekv reads secrets and certificates from Azure Key Vault.
//
// A ref's path is the name of a vault and the name of a secret in it; the
// secret's version, if the ref names one, is Key Vault's own ID of it. A vault
// is a host of its own below the DNS suffix of its cloud, and may be named by
// that host as well. A certificate in Key Vault is read as the secret of the
// same name, and comes in the same fields as one that Vault issued.
//
// Who reads is the host's managed identity. Key Vault says in its first answer
// which token it wants; Microsoft's client checks that this is a token for Key
// Vault and for no other service before it asks for one.
package azurekv

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/auth/keyvault"
	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/providers"
)

// fetchTimeout bounds one read, with the requests for a token that it may
// take.
const fetchTimeout = 15 * time.Second

// maxAnswer is the most of an answer's body that is read, in bytes. Key Vault
// keeps values of 25 KiB; JSON can make six bytes of one.
const maxAnswer = 1 << 20

// Options of a Provider.
type Options struct {
	// Credential gives out tokens of the host's identity. It should keep them:
	// it is asked before every read. Its errors wrap one of package auth's.
	Credential azcore.TokenCredential
	// DNSSuffix is what follows a vault's name in its host name, as in
	// "vault.usgovcloudapi.net". Empty: what FindDNSSuffix says.
	DNSSuffix string
	// FindDNSSuffix finds out which suffix the cloud has that the host is in.
	// It is asked before every read of a vault that is not named by its host,
	// and should remember. Its errors wrap one of package auth's. nil: that of
	// the public cloud.
	FindDNSSuffix func(ctx context.Context) (string, error)
	Connection    keyvault.Connection
	Now           func() time.Time // nil: time.Now
}

// Provider reads from all vaults that the host's identity may read. It
// implements providers.Provider.
//
// It is no Versioner: Key Vault tells the versions of a secret in no order and
// in pages, with times in whole seconds, and which of them is current only
// together with its value.
type Provider struct {
	credential azcore.TokenCredential
	ownSuffix  string
	suffix     func(ctx context.Context) (string, error)
	http       *keyvault.Transport
	now        func() time.Time

	mu     sync.Mutex
	vaults map[string]*azsecrets.Client // by host
}

// New checks options. It makes no request.
func New(o Options) (*Provider, error) {
	if o.Credential == nil {
		return nil, errors.New("Key Vault is read with the host's managed identity, and there is none to ask")
	}
	if o.DNSSuffix != "" && !dnsSuffix.MatchString(o.DNSSuffix) {
		return nil, fmt.Errorf("the DNS suffix %q of the key vaults: write it as in vault.usgovcloudapi.net", o.DNSSuffix)
	}
	p := &Provider{credential: o.Credential, ownSuffix: o.DNSSuffix, suffix: o.FindDNSSuffix, now: o.Now,
		http: keyvault.New(keyvault.Options{Connection: o.Connection, MaxAnswer: maxAnswer}), vaults: map[string]*azsecrets.Client{}}
	if o.DNSSuffix != "" || p.suffix == nil {
		p.suffix = func(context.Context) (string, error) { return cmp.Or(o.DNSSuffix, publicSuffix), nil }
	}
	if p.now == nil {
		p.now = time.Now
	}
	return p, nil
}

// CloseIdleConnections closes what is kept open between reads.
func (p *Provider) CloseIdleConnections() { p.http.Client.CloseIdleConnections() }

// Fetch implements providers.Provider.
func (p *Provider) Fetch(ctx context.Context, ref secret.Ref) (secret.Secret, error) {
	ref = ref.Whole()
	named, err := p.parse(ref)
	if err != nil {
		return secret.Secret{}, fmt.Errorf("Key Vault: %w: %s: %w", providers.ErrInvalid, ref, err)
	}
	limited, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	found, err := p.read(limited, named)
	if err != nil {
		return secret.Secret{}, fmt.Errorf("Key Vault: reading %s: %w", ref, err)
	}
	found.Ref = ref
	return found, nil
}

func (p *Provider) read(ctx context.Context, n name) (secret.Secret, error) {
	if n.suffix == "" {
		suffix, err := p.suffix(ctx)
		if err != nil {
			return secret.Secret{}, noToken(err)
		}
		n.suffix = suffix
	}
	issued := p.now()
	answer, err := p.get(ctx, n)
	if err != nil {
		return secret.Secret{}, explain(ctx, n, err)
	}
	if answer.Value == nil || answer.ID == nil || !version.MatchString(answer.ID.Version()) {
		return secret.Secret{}, explain(ctx, n, keyvault.ErrNotKeyVault)
	}
	if err := usable(answer.Attributes, p.now()); err != nil {
		return secret.Secret{}, err
	}
	fields, err := fieldsOf(*answer.Value, answer.ContentType)
	if err != nil {
		return secret.Secret{}, err
	}
	return secret.Secret{Version: answer.ID.Version(), Fields: fields, Lease: secret.Lease{IssuedAt: issued}}, nil
}

// get makes one read. A refusal may mean that the token has died early, as
// when the machine's identity was replaced; then a new one is tried, once.
//
// Microsoft's client asks the credential itself, but makes those who come
// meanwhile wait longer than their contexts say. So the token is asked for
// here first, and is at hand when the client asks.
func (p *Provider) get(ctx context.Context, n name) (azsecrets.Secret, error) {
	vault, err := p.vault(n.host())
	if err != nil {
		return azsecrets.Secret{}, err
	}
	wanted := policy.TokenRequestOptions{Scopes: []string{"https://" + n.suffix + "/.default"}}
	token, err := p.credential.GetToken(ctx, wanted)
	if err != nil {
		return azsecrets.Secret{}, err
	}
	answer, err := vault.GetSecret(ctx, n.secret, n.version, nil)
	if !isUnauthorized(err) {
		return answer.Secret, err
	}
	wanted.Claims = "{}" // asks for a token other than the one that is held
	next, tokenErr := p.credential.GetToken(ctx, wanted)
	if tokenErr != nil { // whether the token or the vault is the reason is not known
		return azsecrets.Secret{}, tokenErr
	}
	if next.Token == token.Token {
		return azsecrets.Secret{}, err
	}
	answer, err = vault.GetSecret(ctx, n.secret, n.version, nil)
	return answer.Secret, err
}

func isUnauthorized(err error) bool {
	answer, ok := errors.AsType[*azcore.ResponseError](err)
	return ok && answer.StatusCode == http.StatusUnauthorized && keyvault.Read(answer).Code != ""
}

// vault is the client for one vault. It remembers which token that wants.
func (p *Provider) vault(host string) (*azsecrets.Client, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if known, found := p.vaults[host]; found {
		return known, nil
	}
	made, err := azsecrets.NewClient("https://"+host, p.credential, &azsecrets.ClientOptions{ClientOptions: policy.ClientOptions{
		Transport: p.http,
		Retry:     policy.RetryOptions{MaxRetries: -1}, // when to ask again is for the caller to say
		Telemetry: policy.TelemetryOptions{ApplicationID: "quaymaster"},
	}})
	if err == nil {
		p.vaults[host] = made
	}
	return made, err
}

// usable decides by the times that the secret's owner set. Key Vault shows
// them and hands the secret out all the same.
func usable(about *azsecrets.SecretAttributes, now time.Time) error {
	if about == nil {
		return nil
	}
	if about.NotBefore != nil && now.Before(*about.NotBefore) {
		return fmt.Errorf("%w: the current version must not be used before %s: it is read again then; until then an older version can be named with @version, "+
			"or the date moved (az keyvault secret set-attributes --not-before)", providers.ErrUnavailable, about.NotBefore.UTC().Format(time.RFC3339))
	}
	if about.Expires != nil && !now.Before(*about.Expires) {
		return fmt.Errorf("%w: it expired at %s: store a new version, or move the date (az keyvault secret set-attributes --expires)",
			providers.ErrDenied, about.Expires.UTC().Format(time.RFC3339))
	}
	return nil
}

// noToken says what it means for a read that the host has no token.
func noToken(err error) error {
	if errors.Is(err, auth.ErrNoIdentity) || errors.Is(err, auth.ErrRefused) {
		return fmt.Errorf("%w: no token: %w", providers.ErrDenied, err)
	}
	return fmt.Errorf("%w: no token: %w", providers.ErrUnavailable, err)
}
