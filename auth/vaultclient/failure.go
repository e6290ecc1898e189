package vaultclient

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode"

	"github.com/hashicorp/vault/api"

	"github.com/quaymaster/quaymaster/auth/bounded"
)

// Kind is what a failed request means for the one who made it.
type Kind int

// Vault decided in the first three kinds: repeating the request changes
// nothing until somebody changes Vault. In the others nobody decided.
const (
	Invalid     Kind = iota + 1 // 400, 405: Vault understood and refuses the request itself
	Denied                      // 403: the token or the role may not
	NotFound                    // 404: no such path, or no mount there
	Limited                     // 429: too many requests
	Sealed                      // 503: sealed, or not initialized
	Failed                      // other 5xx, or an answer that makes no sense
	Unreachable                 // no answer: network, time-out, or not a Vault
	Untrusted                   // Vault's certificate does not verify here, or the client's not there
)

// Failure is what became of a request. Its text is one line that says what
// Vault said and what to do; it names neither address nor path, which the
// caller knows, and holds no token and no body of a request.
type Failure struct {
	Kind       Kind
	Status     int           // HTTP; zero when there was no answer
	RetryAfter time.Duration // the least to wait, as Vault asked (429, 503), up to MaxRetryAfter
	text       string
	cause      error
}

// Error implements error.
func (f *Failure) Error() string { return f.text }

// Unwrap returns what the client reported; its own text may be long and is
// not meant for people.
func (f *Failure) Unwrap() error { return f.cause }

// Decided reports whether Vault itself said no, so that repeating the same
// request is no use.
func (f *Failure) Decided() bool { return f.Kind <= NotFound }

// InvalidToken reports whether the token itself was not accepted, because it
// ended, was revoked or never was: Vault then says so beside "permission
// denied", and says only the latter to a token that lives and may not.
func (f *Failure) InvalidToken() bool {
	return f.Kind == Denied && strings.Contains(f.text, "invalid token")
}

// Classify reads an error of the api package. It returns nil for nil: a
// *Failure, which is to be compared with nil before it becomes an error.
func Classify(err error) *Failure {
	if err == nil {
		return nil
	}
	failure := &Failure{cause: err}
	if pause, ok := errors.AsType[*paused](err); ok {
		failure.RetryAfter = pause.after
	}
	if answer, ok := errors.AsType[*api.ResponseError](err); ok {
		failure.Status = answer.StatusCode
		failure.Kind, failure.text = classifyAnswer(answer)
		return failure
	}
	if text := certificateText(err); text != "" {
		failure.Kind, failure.text = Untrusted, text+outdatedText(err)
		return failure
	}
	failure.Kind, failure.text = classifyTransport(err)
	failure.text += outdatedText(err)
	return failure
}

// outdatedText says that newer certificate files wait, but cannot be used.
func outdatedText(err error) string {
	if old, ok := errors.AsType[*outdated](err); ok {
		return fmt.Sprintf("; the certificate files were replaced, but cannot be used: %v", old.broken)
	}
	return ""
}

// multiError takes the frame from the lists that Vault's errors often are.
var multiError = strings.NewReplacer("1 error occurred:\n\t* ", "", "2 errors occurred:\n\t* ", "", "\n\t* ", "; ")

func classifyAnswer(answer *api.ResponseError) (Kind, string) {
	message := tidy(multiError.Replace(strings.Join(answer.Errors, "; ")))
	status := fmt.Sprintf("%d", answer.StatusCode)
	if answer.RawError {
		return Unreachable, "what answered " + status + " is not Vault's API, but perhaps a proxy or another port: " + message
	}
	switch answer.StatusCode {
	case http.StatusBadRequest, http.StatusMethodNotAllowed:
		return Invalid, "Vault refuses the request (" + status + "): " + message
	case http.StatusForbidden:
		return Denied, "Vault denies it (" + status + "): " + message
	case http.StatusNotFound:
		return NotFound, strings.TrimSuffix("Vault has nothing there (404): "+message, ": ")
	case http.StatusTooManyRequests:
		return Limited, "Vault limits requests (429): " + message
	case http.StatusServiceUnavailable:
		return Sealed, "Vault is sealed or not ready (503): unseal it, or wait: " + message
	}
	return Failed, "Vault failed (" + status + "): " + message
}

// certificateText explains why a certificate was not accepted; it is empty
// when that is not what err is about.
func certificateText(err error) string {
	if unknown, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return fmt.Sprintf("Vault's certificate is not trusted (%v): set vault.ca_file to the authority that issued it", unknown)
	}
	if name, ok := errors.AsType[x509.HostnameError](err); ok {
		return fmt.Sprintf("Vault's certificate is not trusted for this address (%v): use a name that it carries in vault.address", name)
	}
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); ok {
		return fmt.Sprintf("Vault's certificate is not trusted (%v): renew it, or set vault.ca_file to the authority that issued it", invalid)
	}
	if other, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return fmt.Sprintf("Vault's certificate is not trusted (%v): set vault.ca_file to the authority that issued it", other.Err)
	}
	if refusal, ok := errors.AsType[*net.OpError](err); ok && refusal.Op == "remote error" { // so crypto/tls calls an alert
		return fmt.Sprintf("Vault refuses the TLS connection (%v): if it asks for a client certificate, "+
			"set vault.client_cert_file and vault.client_key_file to one that it accepts", refusal)
	}
	return ""
}

func classifyTransport(err error) (Kind, string) {
	syntax, isSyntax := errors.AsType[*json.SyntaxError](err)
	network, isNetwork := errors.AsType[net.Error](err)
	large, isLarge := errors.AsType[*bounded.TooLarge](err)
	switch {
	case errors.Is(err, context.Canceled):
		return Unreachable, "the request was given up"
	case errors.Is(err, context.DeadlineExceeded) || (isNetwork && network.Timeout()):
		return Unreachable, "Vault did not answer in time: check vault.address, the network, and Vault's load"
	case isLarge:
		return Failed, "the answer cannot be used: " + large.Error()
	case errors.Is(err, io.ErrUnexpectedEOF):
		return Failed, "the answer is cut short"
	case isSyntax:
		return Failed, "the answer is not Vault's: " + syntax.Error()
	}
	cause := err
	if request, ok := errors.AsType[*url.Error](err); ok {
		cause = request.Err // the rest repeats method and URL
	}
	return Unreachable, "Vault cannot be reached (" + tidy(cause.Error()) + "): check vault.address and the network"
}

const (
	maxMessage = 600 // runes of a message that are shown
	maxWord    = 200 // an ARN is shorter, a session token or a signed header longer
)

// tidy makes one line of what a server said. When a signature does not match,
// AWS repeats the signed request, session token included, and Vault passes that
// on: so what follows its announcement is dropped, and so are overlong words,
// should the announcement change.
func tidy(message string) string {
	message, _, _ = strings.Cut(message, "The Canonical String for this request")
	words := strings.FieldsFunc(message, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) })
	for i, word := range words {
		if len(word) > maxWord {
			words[i] = "[…]"
		}
	}
	runes := []rune(strings.Join(words, " "))
	if len(runes) > maxMessage {
		return string(runes[:maxMessage]) + " […]"
	}
	return string(runes)
}
