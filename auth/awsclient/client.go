// Package awsclient is how this project talks to AWS's APIs: one way to connect
// the SDK, and one way to read what went wrong.
//
// Unlike a metadata service, the APIs may be behind a proxy. The SDK's own
// variables count (AWS_CA_BUNDLE, AWS_ENDPOINT_URL…); it never repeats a request,
// because whoever asks knows when to ask again. Of its errors nothing may be
// passed on but what this package picks out: some carry what was answered, or the
// request with its session token.
package awsclient

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"

	"github.com/quaymaster/quaymaster/auth/bounded"
)

// Options of a connection. All but Once are needed.
type Options struct {
	Dial      time.Duration // to connect, and as long for TLS
	Request   time.Duration // for one request, from dialling to the last byte
	MaxAnswer int           // bytes
	Once      bool          // there is seldom a second request: no connection is kept
}

// New returns the SDK's configuration, which has no region and no credentials
// yet, and the client that it uses. It makes no request.
func New(o Options) (aws.Config, *http.Client, error) {
	environment, err := config.NewEnvConfig()
	if err != nil {
		return aws.Config{}, nil, fmt.Errorf("the environment's AWS settings: %w", err)
	}
	transport := &http.Transport{
		Proxy: http.ProxyFromEnvironment, DialContext: (&net.Dialer{Timeout: o.Dial}).DialContext,
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}, TLSHandshakeTimeout: o.Dial, ForceAttemptHTTP2: !o.Once,
		DisableKeepAlives: o.Once, MaxIdleConnsPerHost: 8, IdleConnTimeout: 90 * time.Second, MaxResponseHeaderBytes: 64 << 10,
	}
	if transport.TLSClientConfig.RootCAs, err = authorities(environment.CustomCABundle); err != nil {
		return aws.Config{}, nil, err
	}
	client := &http.Client{
		Transport:     limited{transport, o.MaxAnswer},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // AWS's APIs have none
		Timeout:       o.Request,
	}
	return aws.Config{HTTPClient: client, ConfigSources: []any{environment},
		Retryer: func() aws.Retryer { return aws.NopRetryer{} }}, client, nil
}

// authorities are those in a file; nil, which is the system's, for no file.
func authorities(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("AWS_CA_BUNDLE: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("AWS_CA_BUNDLE: %s holds no PEM certificate", file)
	}
	return pool, nil
}

// limited bounds the memory that an answer can take.
type limited struct {
	*http.Transport
	most int
}

// RoundTrip implements http.RoundTripper. The SDK closes the request's body as
// soon as an answer begins; the body's WriteTo then fails, and if net/http was
// only about to see that nothing follows, it cuts the connection in the middle
// of the answer. Read ends as it should, so nothing else is left of the body.
func (l limited) RoundTrip(request *http.Request) (*http.Response, error) {
	if request.Body != nil {
		plain := *request
		plain.Body = struct{ io.ReadCloser }{request.Body}
		request = &plain
	}
	response, err := l.Transport.RoundTrip(request)
	if err == nil {
		response.Body = bounded.Body(response.Body, l.most)
	}
	return response, err
}
