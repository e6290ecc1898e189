// Package imds is how this project talks HTTP to the metadata service of a
// cloud: a server on a link-local address that hands the machine's identity to
// whoever on the machine asks.
//
// That makes it unlike any other server. A proxy from the environment would
// see the identity, so there is none. A redirect would carry it elsewhere, so
// it is an error. The service is one hop away and answers in milliseconds, or
// it does not exist, so time-outs are short; and what it has to say is small,
// so a large answer is somebody else's.
//
// The service also tells the time (Clock), by which a host whose own clock is
// wrong can still prove who it is.
package imds

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

const (
	// DialTimeout is how long the service may take to accept a connection.
	DialTimeout = time.Second
	// RequestTimeout is how long one request may take, from dialling to the
	// last byte of the answer.
	RequestTimeout = 2 * time.Second
	// MaxBody is the most bytes that an answer may have. Role credentials and
	// identity tokens have two to four thousand.
	MaxBody = 64 << 10
	// MaxLargeBody is the same for what people have given the instance: half a
	// megabyte is the most that any cloud takes of them.
	MaxLargeBody = 768 << 10
)

// What a server does that cannot be a metadata service.
var (
	ErrRedirect = errors.New("the metadata service answered with a redirect, which is not followed")
	ErrTooLarge = fmt.Errorf("the metadata service's answer is larger than %d bytes (%d of what people gave the instance)", MaxBody, MaxLargeBody)
)

// NewClient returns a client for link-local metadata services and nothing
// else. It keeps no connection, no cookie and no other state between requests,
// so it leaves nothing to close.
func NewClient() *http.Client { return newClient(MaxBody) }

// NewLargeClient is NewClient for what people have given the instance.
func NewLargeClient() *http.Client { return newClient(MaxLargeBody) }

func newClient(most int) *http.Client {
	transport := &http.Transport{
		Proxy:                  nil,
		DialContext:            (&net.Dialer{Timeout: DialTimeout}).DialContext,
		DisableKeepAlives:      true, // requests are minutes apart, and the service may move to another version meanwhile
		DisableCompression:     true, // MaxBody then holds for what crosses the wire, too
		MaxResponseHeaderBytes: 16 << 10,
	}
	return &http.Client{
		Transport:     smallAnswers{transport, most},
		CheckRedirect: func(*http.Request, []*http.Request) error { return ErrRedirect },
		Timeout:       RequestTimeout,
	}
}

// smallAnswers makes reading more than so many bytes of an answer an error.
type smallAnswers struct {
	http.RoundTripper
	most int
}

func (t smallAnswers) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := t.RoundTripper.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	response.Body = &smallBody{ReadCloser: response.Body, left: t.most}
	return response, nil
}

// smallBody fails, where io.LimitReader would end as if all had been read.
type smallBody struct {
	io.ReadCloser
	left int
}

func (b *smallBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.left -= n; b.left < 0 {
		return 0, ErrTooLarge
	}
	return n, err
}
