// Package keyvault is how this project talks to Azure Key Vault: one transport for
// Microsoft's clients, and one way to read what went wrong.
//
// Microsoft's client repeats the whole answer in its errors, so nothing of them is
// passed on but what an Answer holds. The transport keeps from it what it cannot
// bear: it panics at some challenges, and takes an answer that was cut off for one
// that makes no sense.
package keyvault

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

	"github.com/quaymaster/quaymaster/auth/bounded"
)

// dialTimeout is for a connection, and as long for TLS.
const dialTimeout = 5 * time.Second

// ErrNotKeyVault is the error where something answers that is not Key Vault.
var ErrNotKeyVault = errors.New("what answers there does not answer as Key Vault does: it may be a proxy, or a private endpoint of something else")

// Connection says how vaults are reached. The zero value suits every host:
// by the proxy that the environment names, if it names one, and with the
// system's authorities.
type Connection struct {
	// Dial connects to a vault or a proxy; nil: as the system resolves it.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Authorities are trusted instead of the system's.
	Authorities *x509.CertPool
}

// Options of a Transport. MaxAnswer is needed.
type Options struct {
	Connection
	MaxAnswer int  // bytes
	Once      bool // there is seldom a second request: no connection is kept
}

// Transport makes requests of Key Vault. It implements policy.Transporter of
// Microsoft's azcore, and may be used by several goroutines.
type Transport struct {
	Client *http.Client
	most   int
}

// New returns a transport. It makes no request.
func New(o Options) *Transport {
	dial := o.Dial
	if dial == nil {
		dial = (&net.Dialer{Timeout: dialTimeout}).DialContext
	}
	return &Transport{most: o.MaxAnswer, Client: &http.Client{
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, DialContext: dial, TLSHandshakeTimeout: dialTimeout,
			TLSClientConfig:   &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: o.Authorities},
			ForceAttemptHTTP2: !o.Once, DisableKeepAlives: o.Once,
			IdleConnTimeout: 90 * time.Second, MaxIdleConnsPerHost: 4, MaxResponseHeaderBytes: 64 << 10,
		},
		// Key Vault does not redirect. What does must not lead a token elsewhere.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Do implements policy.Transporter.
func (t *Transport) Do(request *http.Request) (*http.Response, error) {
	response, err := t.Client.Do(request)
	if err != nil {
		return nil, &Unreachable{err}
	}
	if !harmless(response.Header.Get("WWW-Authenticate")) {
		return nil, errors.Join(ErrNotKeyVault, response.Body.Close())
	}
	response.Body = bounded.Body(body{response.Body}, t.most)
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

// Unreachable is an answer that did not arrive, or not whole. What Microsoft's
// client says beyond that is that it could not make sense of one.
type Unreachable struct{ Cause error }

func (u *Unreachable) Error() string { return u.Cause.Error() }
func (u *Unreachable) Unwrap() error { return u.Cause }

// body tells what did not arrive whole.
type body struct{ io.ReadCloser }

func (b body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && err != io.EOF { // as io.Reader promises, unwrapped
		err = &Unreachable{err}
	}
	return n, err
}
