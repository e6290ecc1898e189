package aws

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/auth/awsclient"
)

const (
	// kmsTimeout is for one request to KMS, with those for keys to sign it by.
	kmsTimeout = 10 * time.Second
	// maxSealed is the most bytes that KMS decrypts ("CiphertextBlob" in the KMS
	// API reference).
	maxSealed = 6144
	// maxAnswer is the most bytes of an answer: what was sealed, in base64.
	maxAnswer = 64 << 10
)

// SealerOptions of a Sealer. Key and Host are needed.
type SealerOptions struct {
	// Key is a symmetric key of KMS: its ARN, its ID, or an alias (alias/…),
	// which must go on naming the same key.
	Key string
	// Host names this host. It is the encryption context's, so that one host
	// does not open what another has sealed by the same key, and key policies
	// can have a condition on it (kms:EncryptionContext:host).
	Host string
	// Region of the key; empty: that in its ARN, or the host's own.
	Region string
}

// Sealer seals keys by KMS as the machine's own role. It implements auth.Sealer.
type Sealer struct {
	key    string
	config sdk.Config
	keys   *sdk.CredentialsCache
	about  map[string]string // the encryption context

	mu     sync.Mutex
	region string // empty: not known yet
}

// NewSealer checks options and the environment. It makes no request.
func NewSealer(o SealerOptions) (*Sealer, error) {
	region, err := keyRegion(o)
	if err != nil {
		return nil, err
	}
	if o.Host == "" {
		return nil, errors.New("a key is sealed for one host, which has no name here")
	}
	keys, err := HostCredentials()
	if err != nil {
		return nil, err
	}
	config, _, err := awsclient.New(awsclient.Options{Dial: attestTimeout, Request: kmsTimeout, MaxAnswer: maxAnswer, Once: true})
	if err != nil {
		return nil, err
	}
	config.Credentials = keys
	return &Sealer{key: o.Key, region: region, keys: keys, config: config,
		about: map[string]string{"quaymaster": "boot-cache", "host": o.Host}}, nil
}

// keyNames are what KMS takes for a key.
var keyNames = regexp.MustCompile(`^(arn:aws[a-z-]*:kms:([a-z0-9-]+):[0-9]{12}:)?(key/)?(mrk-)?[0-9A-Za-z/_-]{1,256}$`)

// keyRegion is the region that options name; empty: none.
func keyRegion(o SealerOptions) (string, error) {
	named := keyNames.FindStringSubmatch(o.Key)
	if named == nil {
		return "", fmt.Errorf("the KMS key %.300q: write its ARN, its ID, or alias/<name>", o.Key)
	}
	region := cmp.Or(named[2], o.Region)
	if region != "" && !looksLikeRegion(region) {
		return "", fmt.Errorf("the region %q of the KMS key: write a region of AWS, as in eu-west-1", region)
	}
	if o.Region != "" && o.Region != region {
		return "", fmt.Errorf("the KMS key %s is not in region %s", o.Key, o.Region)
	}
	return region, nil
}

// Seal implements auth.Sealer (kms:Encrypt).
func (s *Sealer) Seal(ctx context.Context, key []byte) ([]byte, error) {
	limited, cancel := context.WithTimeout(ctx, kmsTimeout)
	defer cancel()
	client, err := s.client(limited)
	if err != nil {
		return nil, s.explain(ctx, "kms:Encrypt", err)
	}
	answer, err := client.Encrypt(limited, &kms.EncryptInput{KeyId: &s.key, Plaintext: key, EncryptionContext: s.about})
	if err == nil && len(answer.CiphertextBlob) == 0 {
		err = errNotKMS
	}
	if err != nil {
		return nil, s.explain(ctx, "kms:Encrypt", err)
	}
	return answer.CiphertextBlob, nil
}

// Unseal implements auth.Sealer (kms:Decrypt).
func (s *Sealer) Unseal(ctx context.Context, sealed []byte) ([]byte, error) {
	if len(sealed) == 0 || len(sealed) > maxSealed {
		return nil, s.failed("kms:Decrypt", "that is nothing that KMS sealed", auth.ErrNotSealedHere)
	}
	limited, cancel := context.WithTimeout(ctx, kmsTimeout)
	defer cancel()
	client, err := s.client(limited)
	if err != nil {
		return nil, s.explain(ctx, "kms:Decrypt", err)
	}
	answer, err := client.Decrypt(limited, &kms.DecryptInput{KeyId: &s.key, CiphertextBlob: sealed, EncryptionContext: s.about})
	if err == nil && len(answer.Plaintext) == 0 {
		err = errNotKMS
	}
	if err != nil {
		return nil, s.explain(ctx, "kms:Decrypt", err)
	}
	return answer.Plaintext, nil
}

// client is KMS in the key's region.
func (s *Sealer) client(ctx context.Context) (*kms.Client, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.region == "" {
		region, err := HostRegion(ctx)
		if err != nil {
			return nil, err
		}
		s.region = region
	}
	config := s.config.Copy()
	config.Region = s.region
	return kms.NewFromConfig(config), nil
}

func (s *Sealer) failed(action, reason string, decision error) error {
	return fmt.Errorf("AWS KMS, %s by %s: %s: %w", action, s.key, strings.ReplaceAll(reason, "\n", " "), decision)
}
