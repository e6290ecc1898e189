package aws

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"strings"
	"sync"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/quaymaster/quaymaster/auth"
)

const (
	// kmsTimeout is for one request to KMS, with those for keys to sign it by.
	kmsTimeout = 10 * time.Second
	// maxSealed is the most bytes that KMS decrypts ("CiphertextBlob" in the KMS
	// API reference).
	maxSealed = 6144
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
	http   *http.Client
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
	environment, err := config.NewEnvConfig()
	if err != nil {
		return nil, fmt.Errorf("the environment's AWS settings: %w", err)
	}
	client, err := newAPIClient(environment.CustomCABundle)
	if err != nil {
		return nil, err
	}
	return &Sealer{key: o.Key, region: region, keys: keys, http: client,
		about: map[string]string{"quaymaster": "boot-cache", "host": o.Host},
		config: sdk.Config{HTTPClient: client, ConfigSources: []any{environment}, Credentials: keys,
			Retryer: func() sdk.Retryer { return sdk.NopRetryer{} }}, // whoever seals repeats
	}, nil
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

// newAPIClient is for AWS's APIs, which may be behind a proxy, unlike a metadata
// service.
func newAPIClient(authorities string) (*http.Client, error) {
	transport := &http.Transport{
		Proxy: http.ProxyFromEnvironment, DialContext: (&net.Dialer{Timeout: attestTimeout}).DialContext, TLSHandshakeTimeout: attestTimeout,
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}, DisableKeepAlives: true, // a key is sealed once
		ResponseHeaderTimeout: kmsTimeout, MaxResponseHeaderBytes: 64 << 10,
	}
	if authorities != "" {
		pem, err := os.ReadFile(authorities)
		if err != nil {
			return nil, fmt.Errorf("AWS_CA_BUNDLE: %w", err)
		}
		transport.TLSClientConfig.RootCAs = x509.NewCertPool()
		if !transport.TLSClientConfig.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("AWS_CA_BUNDLE: %s holds no PEM certificate", authorities)
		}
	}
	return &http.Client{
		Transport:     bounded{transport},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // AWS's APIs have none
	}, nil
}

// bounded takes a small answer and nothing more.
type bounded struct{ *http.Transport }

// maxAnswer is the most bytes of an answer of KMS's: what was sealed, in base64.
const maxAnswer = 64 << 10

// RoundTrip implements http.RoundTripper. A body without WriteTo, because the
// SDK closes it as soon as an answer begins, and WriteTo then fails and can cut
// the connection.
func (b bounded) RoundTrip(request *http.Request) (*http.Response, error) {
	if request.Body != nil {
		plain := *request
		plain.Body = struct{ io.ReadCloser }{request.Body}
		request = &plain
	}
	response, err := b.Transport.RoundTrip(request)
	if err == nil {
		response.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(response.Body, maxAnswer), response.Body}
	}
	return response, err
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
