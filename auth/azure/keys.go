package azure

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/auth/keyvault"
)

// sealTimeout is for the requests that one sealing takes, those for a token
// included.
const sealTimeout = 15 * time.Second

// SealerOptions of a Sealer. Credential, Key and Host are needed.
type SealerOptions struct {
	Credential *Credential
	// Key is the identifier of an RSA key in Key Vault, without a version, as in
	// https://shop-kv.vault.azure.net/keys/boot-cache
	Key string
	// Host names this host; another one does not take what was sealed for it.
	Host string
	// Connection is how the vault is reached.
	Connection keyvault.Connection
}

// Sealer seals keys by a key of Key Vault (wrapKey and unwrapKey with
// RSA-OAEP-256), as the machine's managed identity. It implements auth.Sealer.
//
// What was sealed goes on opening when the key has got a new version, as long as
// the old one is enabled. To seal takes no more than the key's public half:
// whoever has that and knows the host's name can make something that opens
// here. So this guards what was kept from being read, and, beside what the disk's
// own permissions do, not from being replaced as a whole.
type Sealer struct {
	credential *Credential
	client     *azkeys.Client
	host       string // of the vault
	key        string // its name
	scope      string
	bound      [sha256.Size]byte // says for whom a key was sealed
}

// keyID takes an identifier apart: host, suffix of the cloud, name.
var keyID = regexp.MustCompile(`^https://([0-9A-Za-z-]{3,24}\.(vault\.[0-9a-z.-]+))/keys/([0-9A-Za-z-]{1,127})/?$`)

// NewSealer checks options. It makes no request.
func NewSealer(o SealerOptions) (*Sealer, error) {
	named := keyID.FindStringSubmatch(o.Key)
	switch {
	case named == nil:
		return nil, fmt.Errorf("the Key Vault key %.300q: write it as in https://shop-kv.vault.azure.net/keys/boot-cache, without a version", o.Key)
	case o.Host == "":
		return nil, errors.New("a key is sealed for one host, which has no name here")
	case o.Credential == nil:
		return nil, errors.New("Key Vault is used as the host's managed identity, and there is none to ask")
	}
	s := &Sealer{credential: o.Credential, host: named[1], key: named[3], scope: "https://" + named[2] + "/.default",
		bound: sha256.Sum256([]byte("quaymaster boot-cache\x00" + o.Host))}
	var err error
	s.client, err = azkeys.NewClient("https://"+s.host, o.Credential, &azkeys.ClientOptions{ClientOptions: policy.ClientOptions{
		Transport: keyvault.New(keyvault.Options{Connection: o.Connection, MaxAnswer: maxAnswer, Once: true}), Retry: policy.RetryOptions{MaxRetries: -1}, // when to ask again is for the caller to say
		Telemetry: policy.TelemetryOptions{ApplicationID: "quaymaster"},
	}})
	return s, err
}

const versionSize = 32

// version is how Key Vault writes the version of a key.
var version = regexp.MustCompile(`^[0-9a-f]{32}$`)

// Seal implements auth.Sealer (wrapKey). What is sealed begins with the version
// of the key that sealed it.
func (s *Sealer) Seal(ctx context.Context, key []byte) ([]byte, error) {
	limited, cancel := context.WithTimeout(ctx, sealTimeout)
	defer cancel()
	plain := make([]byte, 0, len(key)+len(s.bound))
	plain = append(append(plain, key...), s.bound[:]...)
	defer clear(plain)
	if err := s.token(limited, ""); err != nil {
		return nil, s.explain(ctx, wrapping, err)
	}
	answer, err := s.client.WrapKey(limited, s.key, "", parameters(plain), nil)
	if err == nil && (answer.KID == nil || !version.MatchString(answer.KID.Version()) || len(answer.Result) == 0) {
		err = keyvault.ErrNotKeyVault
	}
	if err != nil {
		return nil, s.explain(ctx, wrapping, err)
	}
	return append([]byte(answer.KID.Version()), answer.Result...), nil
}

// Unseal implements auth.Sealer (unwrapKey).
func (s *Sealer) Unseal(ctx context.Context, sealed []byte) ([]byte, error) {
	if len(sealed) <= versionSize || !version.Match(sealed[:versionSize]) || len(sealed) > maxSealed {
		return nil, s.failed(unwrapping, "that is nothing that Key Vault sealed", auth.ErrNotSealedHere)
	}
	limited, cancel := context.WithTimeout(ctx, sealTimeout)
	defer cancel()
	if err := s.token(limited, ""); err != nil {
		return nil, s.explain(ctx, unwrapping, err)
	}
	answer, err := s.client.UnwrapKey(limited, s.key, string(sealed[:versionSize]), parameters(sealed[versionSize:]), nil)
	if err == nil && len(answer.Result) == 0 {
		err = keyvault.ErrNotKeyVault
	}
	if err != nil {
		return nil, s.explain(ctx, unwrapping, err)
	}
	n := len(answer.Result) - len(s.bound)
	if n <= 0 || subtle.ConstantTimeCompare(answer.Result[n:], s.bound[:]) != 1 {
		clear(answer.Result)
		return nil, s.failed(unwrapping, "it was sealed for another host, or for something else", auth.ErrNotSealedHere)
	}
	return answer.Result[:n:n], nil
}

const (
	maxSealed = 4 << 10  // bytes; more than the largest RSA key wraps to
	maxAnswer = 64 << 10 // bytes; what is sealed has less than a thousand
)

func parameters(value []byte) azkeys.KeyOperationParameters {
	algorithm := azkeys.EncryptionAlgorithmRSAOAEP256
	return azkeys.KeyOperationParameters{Algorithm: &algorithm, Value: value}
}

// token has a token at hand before Microsoft's client asks for it, which would
// wait longer than the context says. Claims say that the held one was refused.
func (s *Sealer) token(ctx context.Context, claims string) error {
	_, err := s.credential.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{s.scope}, Claims: claims})
	return err
}

func (s *Sealer) failed(operation, reason string, decision error) error {
	return fmt.Errorf("Key Vault, %s by %s in %s: %s: %w", operation, s.key, s.host, strings.ReplaceAll(reason, "\n", " "), decision)
}
