package azure

import (
	"bytes"
	"cmp"
	"context"
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

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/auth/internal/imds"
)

// metadata is Azure's instance metadata service for the length of one
// attestation. It is the transport of Microsoft's library, too.
type metadata struct {
	client   *http.Client
	endpoint *url.URL
	now      func() time.Time
	last     lastAnswer
	clock    imds.Clock
}

func (a *Attestor) newMetadata() *metadata {
	return &metadata{client: imds.NewClient(), endpoint: a.endpoint, now: a.now}
}

// lastAnswer remembers how the last request went, because the library's error
// for it is many lines and hides its cause.
type lastAnswer struct {
	status            int // zero: no answer
	err               error
	code, description string // of an answer that is no success
}

// errElsewhere: the library asks another service than a VM's, because of the
// environment or of what is installed.
var errElsewhere = errors.New("the environment leads Microsoft's library to another service than a VM's metadata service: unset " +
	"IDENTITY_ENDPOINT, IMDS_ENDPOINT and MSI_ENDPOINT; machines of Azure Arc are not supported")

// Do implements policy.Transporter.
func (m *metadata) Do(request *http.Request) (*http.Response, error) {
	m.last = lastAnswer{}
	if request.URL.Scheme+"://"+request.URL.Host != linkLocal {
		m.last.err = errElsewhere
		return nil, errElsewhere
	}
	request = request.Clone(request.Context())
	request.URL.Scheme, request.URL.Host, request.Host = m.endpoint.Scheme, m.endpoint.Host, ""
	response, err := m.client.Do(request)
	if err != nil {
		m.last.err = err
		return nil, err
	}
	m.last.status = response.StatusCode
	m.clock.Note(response.Header, m.now())
	if response.StatusCode != http.StatusOK {
		return m.last.read(response)
	}
	response.Body = &watched{response.Body, &m.last}
	return response, nil
}

// watched remembers an error of reading, which the library words anew.
type watched struct {
	io.ReadCloser
	last *lastAnswer
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.ReadCloser.Read(p)
	if err != nil && err != io.EOF { // as io.Reader promises, unwrapped
		w.last.err = err
	}
	return n, err
}

// read takes what an answer says of its failure, and leaves it to be read
// again.
func (l *lastAnswer) read(response *http.Response) (*http.Response, error) {
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		l.err = err
		return nil, err
	}
	response.Body = io.NopCloser(bytes.NewReader(content))
	var said struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}
	if json.Unmarshal(content, &said) == nil {
		l.code, l.description = said.Error, tidy(cmp.Or(said.Description, said.Error))
	}
	return response, nil
}

// rejected reports whether the service itself said that what was asked for
// does not exist here.
func (l *lastAnswer) rejected() bool {
	return l.status == http.StatusBadRequest && l.code != ""
}

// problem is an answer that is no success as an error.
func (l *lastAnswer) problem() error {
	if l.status == http.StatusOK {
		return nil
	}
	return fmt.Errorf("status %d", l.status)
}

// tidy makes one short line of what a server said.
func tidy(said string) string {
	const most = 300 // runes
	words := strings.FieldsFunc(said, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) })
	line := []rune(strings.Join(words, " "))
	if len(line) > most {
		return string(line[:most]) + " […]"
	}
	return string(line)
}

func (m *metadata) where() string {
	return "Azure's metadata service at " + m.endpoint.Scheme + "://" + m.endpoint.Host
}

// explain turns an error into one that says what was tried, where, and what to
// do. A service that is not there is no identity; one that is there but slow or
// failing may recover.
func (m *metadata) explain(ctx context.Context, doing string, err error) error {
	reason, decision := m.reason(ctx, err)
	return fmt.Errorf("%s from %s: %s: %w", doing, m.where(), reason, decision)
}

func (m *metadata) reason(ctx context.Context, err error) (reason string, decision error) {
	if m.last.err != nil {
		err = m.last.err // the library words it anew
	}
	dial, isNetwork := errors.AsType[*net.OpError](err)
	timeout, isTimeout := errors.AsType[net.Error](err)
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return "given up", auth.ErrUnavailable
	case errors.Is(err, errElsewhere):
		return errElsewhere.Error(), auth.ErrNoIdentity
	case errors.Is(err, imds.ErrRedirect):
		return "something else answers there: " + imds.ErrRedirect.Error(), auth.ErrNoIdentity
	case errors.Is(err, imds.ErrTooLarge):
		return "something else answers there: " + imds.ErrTooLarge.Error(), auth.ErrNoIdentity
	case isNetwork && dial.Op == "dial":
		return "nothing answers (" + dial.Err.Error() + "): is this an Azure VM, and may this process reach the service?", auth.ErrNoIdentity
	case isTimeout && timeout.Timeout():
		return "it took the connection and did not answer in time: it may be busy, or a firewall or a container network drops its answers", auth.ErrUnavailable
	}
	return m.statusReason(err)
}

func (m *metadata) statusReason(err error) (reason string, decision error) {
	switch code := m.last.status; {
	case code == http.StatusTooManyRequests:
		return "it limits requests (429): something on this machine asks it too often; see what asks for " + linkLocal, auth.ErrUnavailable
	case code == http.StatusGone:
		return "it is being updated (410), which takes about a minute", auth.ErrUnavailable
	case code == http.StatusNotFound:
		return "it answers 404: it is being updated, which takes about a minute, or this is no Azure VM", auth.ErrUnavailable
	case code >= http.StatusInternalServerError:
		return fmt.Sprintf("it answers %d", code), auth.ErrUnavailable
	case code != 0 && code != http.StatusOK:
		return fmt.Sprintf("something else answers there, perhaps a proxy, or another cloud's metadata service (%d)", code), auth.ErrNoIdentity
	}
	return "it gives no usable answer (" + tidy(errorText(err)) + ")", auth.ErrUnavailable
}

// errorText leaves out an URL that the reader knows.
func errorText(err error) string {
	if request, ok := errors.AsType[*url.Error](err); ok {
		return request.Err.Error()
	}
	return err.Error()
}
