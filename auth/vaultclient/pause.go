package vaultclient

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/hashicorp/vault/api"
)

// MaxRetryAfter bounds the wait that an answer can ask for: Vault's own limits
// open again within seconds, and whatever stands before Vault must not be able
// to keep a host without a token for longer.
const MaxRetryAfter = 2 * time.Minute

// paused is an answer that says when to ask again. The api package's error has
// no room for that.
type paused struct {
	answer *api.ResponseError
	after  time.Duration
}

func (p *paused) Error() string { return p.answer.Error() }
func (p *paused) Unwrap() error { return p.answer }

// keepPause turns an answer with Retry-After into one whose body reads as a
// *paused: what fails to be read is the one error that the api package passes
// on as it is.
func keepPause(response *http.Response) (*http.Response, error) {
	if response.StatusCode != http.StatusTooManyRequests && response.StatusCode != http.StatusServiceUnavailable {
		return response, nil
	}
	after := retryAfter(response.Header.Get("Retry-After"), time.Now())
	if after == 0 {
		return response, nil
	}
	body, err := io.ReadAll(response.Body)
	if err = errors.Join(err, response.Body.Close()); err != nil {
		return nil, err
	}
	answer := &api.ResponseError{StatusCode: response.StatusCode}
	var content api.ErrorResponse
	if answer.RawError = json.Unmarshal(body, &content) != nil; answer.RawError {
		content.Errors = []string{string(body)}
	}
	answer.Errors = content.Errors
	response.Body = failingBody{&paused{answer, after}}
	return response, nil
}

// failingBody is a body that cannot be read.
type failingBody struct{ err error }

func (b failingBody) Read([]byte) (int, error) { return 0, b.err }
func (b failingBody) Close() error             { return nil }

// retryAfter reads the header (RFC 9110, 10.2.3: seconds or a date), up to
// MaxRetryAfter. What cannot be read asks for nothing.
func retryAfter(header string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseUint(header, 10, 32); err == nil {
		return min(time.Duration(seconds)*time.Second, MaxRetryAfter)
	}
	at, err := http.ParseTime(header)
	if err != nil {
		return 0
	}
	return min(max(at.Sub(now), 0), MaxRetryAfter)
}
