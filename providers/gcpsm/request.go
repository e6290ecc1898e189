package gcpsm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/quaymaster/quaymaster/providers"
)

const (
	// requestTimeout bounds one request, so that a gate that waits 30 seconds
	// sees a second attempt.
	requestTimeout = 10 * time.Second
	// maxAnswer is the most of an answer that is read, in bytes. A payload has 64
	// KiB at most, and base64 makes four bytes of three.
	maxAnswer = 256 << 10
)

// answer is a version as AccessSecretVersionResponse, SecretVersion or an error
// has it, in the REST API's reference (v1).
type answer struct {
	Name    string `json:"name"`
	State   string `json:"state"`
	Payload *struct {
		Data []byte      `json:"data"`       // in base64
		Sum  json.Number `json:"dataCrc32c"` // a string, as JSON has no numbers of 64 bits
	} `json:"payload"`
	Error *refusal `json:"error"`
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// access reads the payload of a version.
func (p *Provider) access(ctx context.Context, n name) (number string, payload []byte, err error) {
	said, err := p.get(ctx, n, ":access")
	if err != nil {
		return "", nil, err
	}
	number = n.number(said.Name)
	if number == "" || said.Payload == nil {
		return "", nil, n.failed(providers.ErrUnavailable, "its answer is not about that secret: is that Google's API?")
	}
	sum, err := strconv.ParseUint(said.Payload.Sum.String(), 10, 32)
	if err != nil || uint32(sum) != crc32.Checksum(said.Payload.Data, castagnoli) {
		clear(said.Payload.Data)
		return "", nil, n.failed(providers.ErrUnavailable, "the payload of version %s does not match its checksum (CRC32C): it was damaged on its way", number)
	}
	return number, said.Payload.Data, nil
}

// look asks for the number of a version without its payload.
func (p *Provider) look(ctx context.Context, n name) (number string, err error) {
	said, err := p.get(ctx, n, "")
	if err != nil {
		return "", err
	}
	if number = n.number(said.Name); number == "" {
		return "", n.failed(providers.ErrUnavailable, "its answer is not about that secret: is that Google's API?")
	}
	if said.State != "ENABLED" {
		reason, decision := inState(said.State)
		return "", n.failed(decision, "%s", reason)
	}
	return number, nil
}

// get makes one request.
func (p *Provider) get(ctx context.Context, n name, method string) (answer, error) {
	token, err := p.tokens.Token(ctx)
	if err != nil {
		return answer{}, n.noToken(ctx, err)
	}
	limited, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(limited, http.MethodGet, n.url(method), nil)
	if err != nil {
		return answer{}, n.failed(providers.ErrInvalid, "making the request: %w", err)
	}
	request.Header.Set("Authorization", "Bearer "+string(token.Reveal())) // goes to the API and nowhere else
	code, body, err := p.do(request)
	if err != nil {
		return answer{}, n.unreachable(ctx, err)
	}
	defer clear(body)
	var said answer
	err = json.Unmarshal(body, &said)
	switch {
	case code == http.StatusOK && err == nil && said.Error == nil:
		return said, nil
	case code == http.StatusOK: // without the error, which may quote the answer
		return answer{}, n.failed(providers.ErrUnavailable, "its answer is not what it should be: is that Google's API?")
	case code == http.StatusUnauthorized:
		p.tokens.Refused(token)
	}
	return answer{}, n.refused(code, said.Error, method)
}

// do reads an answer whole.
func (p *Provider) do(request *http.Request) (code int, body []byte, err error) {
	response, err := p.client.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close()
	body, err = io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	if err == nil && len(body) > maxAnswer {
		err = errTooLarge
	}
	if err != nil {
		clear(body)
		return 0, nil, err
	}
	return response.StatusCode, body, nil
}

var (
	errRedirect = errors.New("it answers with a redirect, which is not followed")
	errTooLarge = fmt.Errorf("its answer is larger than %d bytes", maxAnswer)
)

// newClient is for an API on the internet, which may lie behind a proxy; a
// request carries an access token, so no redirect is followed.
func newClient() *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			ForceAttemptHTTP2:      true,
			DisableCompression:     true, // maxAnswer then holds for what crosses the wire, too
			MaxResponseHeaderBytes: 64 << 10,
			IdleConnTimeout:        90 * time.Second, // a secret is read again each minute
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return errRedirect },
	}
}

// unreachable says why there is no answer.
func (n name) unreachable(ctx context.Context, err error) error {
	cause := err
	if request, ok := errors.AsType[*url.Error](err); ok {
		cause = request.Err // the rest repeats method and URL
	}
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return n.failed(providers.ErrUnavailable, "given up: %w", context.Canceled)
	case errors.Is(err, errRedirect), errors.Is(err, errTooLarge):
		return n.failed(providers.ErrUnavailable, "%w: is that Google's API?", cause)
	case errors.Is(err, context.DeadlineExceeded):
		return n.failed(providers.ErrUnavailable, "it did not answer in time: check the network and HTTPS_PROXY: %w", context.DeadlineExceeded)
	}
	return n.failed(providers.ErrUnavailable, "it cannot be reached (%w): check the network and HTTPS_PROXY", cause)
}

// failed is an error that names the API and the ref.
func (n name) failed(decision error, reason string, args ...any) error {
	return fmt.Errorf("GCP Secret Manager at %s: %w: %s: %w", n.base, decision, n.ref, fmt.Errorf(reason, args...))
}
