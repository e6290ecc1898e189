package azurekv

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

const (
	dialTimeout = 5 * time.Second // and as long for TLS
	// maxAnswer is the most of an answer's body that is read, in bytes. Key
	// Vault keeps values of 25 KiB; JSON can make six bytes of one.
	maxAnswer = 1 << 20
)

// Connection says how vaults are reached. The zero value suits every host:
// by the proxy that the environment names, if it names one, and with the
// system's authorities.
type Connection struct {
	// Dial connects to a vault or a proxy; nil: as the system resolves it.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Authorities are trusted instead of the system's.
	Authorities *x509.CertPool
}

// transport makes the requests of all vaults' clients. It implements
// policy.Transporter.
type transport struct{ client *http.Client }

func newTransport(c Connection) *transport {
	dial := c.Dial
	if dial == nil {
		dial = (&net.Dialer{Timeout: dialTimeout}).DialContext
	}
	return &transport{&http.Client{
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, DialContext: dial, TLSHandshakeTimeout: dialTimeout,
			TLSClientConfig:   &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: c.Authorities},
			ForceAttemptHTTP2: true, IdleConnTimeout: 90 * time.Second, MaxIdleConnsPerHost: 4, MaxResponseHeaderBytes: 64 << 10,
		},
		// Key Vault does not redirect. What does must not lead a token elsewhere.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Do implements policy.Transporter.
func (t *transport) Do(request *http.Request) (*http.Response, error) {
	response, err := t.client.Do(request)
	if err != nil {
		return nil, &unreachable{err}
	}
	if !harmless(response.Header.Get("WWW-Authenticate")) {
		return nil, errors.Join(errNotKeyVault, response.Body.Close())
	}
	response.Body = &limitedBody{response.Body, maxAnswer}
	return response, nil
}

// harmless reports whether Microsoft's client can read a challenge: it panics
// at an authorization that is no URL with a path, which Key Vault never sends.
func harmless(challenge string) bool {
	for part := range strings.SplitSeq(strings.ReplaceAll(challenge, "Bearer ", ""), " ") { // as the client takes it apart
		if place, ok := strings.CutPrefix(part, "authorization="); ok && strings.Count(place, "/") < len("//")+1 {
			return false
		}
	}
	return true
}

// unreachable is an answer that did not arrive, or not whole. What Microsoft's
// client says beyond that is that it could not make sense of one.
type unreachable struct{ cause error }

func (u *unreachable) Error() string { return u.cause.Error() }
func (u *unreachable) Unwrap() error { return u.cause }

var errAnswerTooLarge = errors.New("the answer is larger than 1 MiB")

// limitedBody fails, where io.LimitReader would end as if all had been read.
type limitedBody struct {
	io.ReadCloser
	left int
}

func (b *limitedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.left -= n; b.left < 0 {
		return 0, errAnswerTooLarge
	}
	if err != nil && err != io.EOF { // as io.Reader promises, unwrapped
		err = &unreachable{err}
	}
	return n, err
}
