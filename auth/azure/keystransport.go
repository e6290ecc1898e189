package azure

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

const (
	dialTimeout = 5 * time.Second // and as long for TLS
	maxAnswer   = 64 << 10        // bytes; what is sealed has less than a thousand
)

// transport makes requests of Key Vault. It implements policy.Transporter.
type transport struct{ client *http.Client }

func newTransport(o SealerOptions) *transport {
	dial := o.Dial
	if dial == nil {
		dial = (&net.Dialer{Timeout: dialTimeout}).DialContext
	}
	return &transport{&http.Client{
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, DialContext: dial, TLSHandshakeTimeout: dialTimeout, DisableKeepAlives: true, // a key is sealed once
			TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: o.Authorities}, MaxResponseHeaderBytes: 64 << 10,
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
	response.Body = struct {
		io.Reader
		io.Closer
	}{io.LimitReader(response.Body, maxAnswer), response.Body}
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

// unreachable is an answer that did not arrive.
type unreachable struct{ cause error }

func (u *unreachable) Error() string { return u.cause.Error() }
func (u *unreachable) Unwrap() error { return u.cause }
