package gcp

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/auth/endpoint"
)

const (
	kms = "https://cloudkms.googleapis.com"
	// kmsVariable is read by gcloud, too.
	kmsVariable = "CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDKMS"
)

// SealerOptions of a Sealer. Tokens, Key and Host are needed.
type SealerOptions struct {
	Tokens *AccessTokens
	// Key is a symmetric key of Cloud KMS:
	// projects/P/locations/L/keyRings/R/cryptoKeys/K
	Key string
	// Host names this host. It is authenticated with what is sealed, so that
	// another host with the same key does not open it.
	Host string
	// Endpoint is the base URL of the API. Empty: that of
	// CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDKMS, or Google's.
	Endpoint string
}

// Sealer seals keys by Cloud KMS as the machine's service account. It implements
// auth.Sealer.
type Sealer struct {
	tokens   *AccessTokens
	key      string
	endpoint string
	about    []byte // the additional authenticated data
}

// keyName is a key's resource name.
var keyName = regexp.MustCompile(`^projects/([a-z0-9.:-]{1,64})/locations/[a-z0-9-]{1,63}/keyRings/[a-zA-Z0-9_-]{1,63}/cryptoKeys/[a-zA-Z0-9_-]{1,63}$`)

// NewSealer checks options. It makes no request.
func NewSealer(o SealerOptions) (*Sealer, error) {
	switch {
	case o.Tokens == nil:
		return nil, errors.New("Cloud KMS needs access tokens")
	case o.Host == "":
		return nil, errors.New("a key is sealed for one host, which has no name here")
	case !keyName.MatchString(o.Key):
		return nil, fmt.Errorf("the Cloud KMS key %.300q: write it as projects/P/locations/L/keyRings/R/cryptoKeys/K", o.Key)
	}
	s := &Sealer{tokens: o.Tokens, key: o.Key, about: []byte("quaymaster boot-cache\x00" + o.Host),
		endpoint: strings.TrimSuffix(cmp.Or(o.Endpoint, os.Getenv(kmsVariable), kms), "/")}
	if _, err := endpoint.Parse(s.endpoint); err != nil {
		return nil, fmt.Errorf("the address of Cloud KMS (%s): %w", kmsVariable, err)
	}
	return s, nil
}

// kmsRequest is EncryptRequest or DecryptRequest of the REST API (v1). Numbers
// are texts, as JSON has none of 64 bits.
type kmsRequest struct {
	Plaintext     []byte `json:"plaintext,omitempty"`
	PlaintextSum  string `json:"plaintextCrc32c,omitempty"`
	Ciphertext    []byte `json:"ciphertext,omitempty"`
	CiphertextSum string `json:"ciphertextCrc32c,omitempty"`
	About         []byte `json:"additionalAuthenticatedData"`
	AboutSum      string `json:"additionalAuthenticatedDataCrc32c"`
}

// kmsAnswer is EncryptResponse, DecryptResponse or an error.
type kmsAnswer struct {
	Ciphertext    []byte   `json:"ciphertext"`
	CiphertextSum string   `json:"ciphertextCrc32c"`
	Plaintext     []byte   `json:"plaintext"`
	PlaintextSum  string   `json:"plaintextCrc32c"`
	Verified      bool     `json:"verifiedPlaintextCrc32c"`
	VerifiedAbout bool     `json:"verifiedAdditionalAuthenticatedDataCrc32c"`
	Error         *refusal `json:"error"`
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(content []byte) string {
	return strconv.FormatUint(uint64(crc32.Checksum(content, castagnoli)), 10)
}

// Seal implements auth.Sealer (cryptoKeys.encrypt). Google says whether what it
// got is what was sent, by its checksum ("Verifying end-to-end data integrity"
// in Cloud KMS's documentation).
func (s *Sealer) Seal(ctx context.Context, key []byte) ([]byte, error) {
	answer, err := s.ask(ctx, "encrypt", kmsRequest{Plaintext: key, PlaintextSum: checksum(key)})
	if err != nil {
		return nil, err
	}
	if !answer.Verified || !answer.VerifiedAbout || len(answer.Ciphertext) == 0 || checksum(answer.Ciphertext) != answer.CiphertextSum {
		return nil, s.failed("encrypt", damaged, auth.ErrSealUnavailable)
	}
	return answer.Ciphertext, nil
}

const damaged = "what was asked or answered does not match its checksum (CRC32C): it was damaged on its way, or that is not Google's API"

// maxSealed is the most bytes that KMS decrypts.
const maxSealed = 64 << 10

// Unseal implements auth.Sealer (cryptoKeys.decrypt).
func (s *Sealer) Unseal(ctx context.Context, sealed []byte) ([]byte, error) {
	if len(sealed) == 0 || len(sealed) > maxSealed {
		return nil, s.failed("decrypt", "that is nothing that Cloud KMS sealed", auth.ErrNotSealedHere)
	}
	answer, err := s.ask(ctx, "decrypt", kmsRequest{Ciphertext: sealed, CiphertextSum: checksum(sealed)})
	if err != nil {
		return nil, err
	}
	if len(answer.Plaintext) == 0 || checksum(answer.Plaintext) != answer.PlaintextSum {
		clear(answer.Plaintext)
		return nil, s.failed("decrypt", damaged, auth.ErrSealUnavailable)
	}
	return answer.Plaintext, nil
}

// ask makes one request.
func (s *Sealer) ask(ctx context.Context, operation string, asked kmsRequest) (kmsAnswer, error) {
	limited, cancel := context.WithTimeout(ctx, iamTimeout)
	defer cancel()
	token, err := s.tokens.Token(limited)
	if err != nil {
		return kmsAnswer{}, s.noToken(ctx, operation, err)
	}
	asked.About, asked.AboutSum = s.about, checksum(s.about)
	content, err := json.Marshal(asked)
	defer clear(content)
	if err != nil {
		return kmsAnswer{}, s.failed(operation, "the request cannot be written", auth.ErrSealRefused)
	}
	request, err := http.NewRequestWithContext(limited, http.MethodPost, s.endpoint+"/v1/"+s.key+":"+operation, bytes.NewReader(content))
	if err != nil {
		return kmsAnswer{}, s.failed(operation, "the request cannot be made", auth.ErrSealRefused)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Authorization", "Bearer "+string(token.Reveal())) // goes to the API and nowhere else
	code, body, err := send(request)
	defer clear(body)
	if err != nil {
		return kmsAnswer{}, s.unreachable(ctx, operation, err)
	}
	var said kmsAnswer
	switch err := json.Unmarshal(body, &said); {
	case code == http.StatusOK && err == nil && said.Error == nil:
		return said, nil
	case code == http.StatusUnauthorized:
		s.tokens.Refused(token)
	}
	return kmsAnswer{}, s.refused(operation, code, said.Error)
}

// send returns an answer whole.
func send(request *http.Request) (code int, body []byte, err error) {
	response, err := newClient().Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close()
	body, err = io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	return response.StatusCode, body, err
}
