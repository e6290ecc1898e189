package gcp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	gce "cloud.google.com/go/compute/metadata"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/auth/internal/imds"
)

// metadata is Compute Engine's metadata server for the length of one
// attestation. The library honours GCE_METADATA_HOST, and last has the server's
// time beside this host's.
type metadata struct {
	client *gce.Client
	last   *singleTry
}

func newMetadata(now func() time.Time) *metadata { return newMetadataOf(imds.NewClient(), now) }

func newMetadataOf(plain *http.Client, now func() time.Time) *metadata {
	last := &singleTry{next: plain.Transport, now: now}
	plain.Transport = last
	plain.Timeout = 0 // ask has it, in a form that the library does not take for a reason to repeat
	return &metadata{client: gce.NewClient(plain), last: last}
}

// What an answer is that the library does not get to see.
var (
	errForeign  = errors.New("it does not say Metadata-Flavor: Google")
	errNoAnswer = errors.New("no answer of Google's metadata server")
)

// status is an answer that says: not now.
type status int

func (s status) Error() string { return fmt.Sprintf("it answers %d", int(s)) }

// singleTry passes on what Google's metadata server says for good. It keeps
// everything else, because the library repeats requests for seconds on its own,
// and takes answers from whoever has the address. Repeating is up to whoever
// logs in.
type singleTry struct {
	next  http.RoundTripper
	now   func() time.Time
	host  string
	err   error
	clock imds.Clock
}

// RoundTrip implements http.RoundTripper.
func (t *singleTry) RoundTrip(request *http.Request) (*http.Response, error) {
	t.host = request.URL.Host
	response, err := t.next.RoundTrip(request)
	if err == nil {
		if err = genuine(response); err != nil {
			response.Body.Close()
		}
	}
	if t.err = err; err != nil {
		return nil, errNoAnswer
	}
	t.clock.Note(response.Header, t.now())
	return response, nil
}

// genuine: every answer of the metadata server bears its mark, as "About VM
// metadata" in Compute Engine's documentation says, and clients must look for it.
func genuine(response *http.Response) error {
	passing := response.StatusCode == http.StatusTooManyRequests || response.StatusCode >= 500
	foreign := response.Header.Get("Metadata-Flavor") != "Google"
	switch {
	case passing && foreign:
		return fmt.Errorf("%w, and %w", status(response.StatusCode), errForeign)
	case passing:
		return status(response.StatusCode)
	case response.StatusCode >= 300 && response.StatusCode < 400:
		return imds.ErrRedirect
	case foreign:
		return errForeign
	}
	return nil
}

// get reads one entry below /computeMetadata/v1/.
func (m *metadata) get(ctx context.Context, path string) (string, error) {
	content, err := m.ask(ctx, path)
	if err != nil {
		return "", m.explain(ctx, path, err)
	}
	return content, nil
}

// ofAccount reads an entry of the instance's service account. What is not there
// means that there is no account.
func (m *metadata) ofAccount(ctx context.Context, entry string) (string, error) {
	path := "instance/service-accounts/default/" + entry
	content, err := m.ask(ctx, path)
	if isUndefined(err) {
		return "", fmt.Errorf("this instance has no service account: stop it and give it one "+
			"(gcloud compute instances set-service-account): %w", auth.ErrNoIdentity)
	}
	if err != nil {
		return "", m.explain(ctx, path, err)
	}
	return content, nil
}

// ask makes one request.
func (m *metadata) ask(ctx context.Context, path string) (string, error) {
	limited, cancel := context.WithTimeout(ctx, imds.RequestTimeout)
	defer cancel()
	content, err := m.client.GetWithContext(limited, path)
	if err != nil && m.last.err != nil {
		err = m.last.err
	}
	return strings.TrimSpace(content), err
}

func isUndefined(err error) bool {
	_, undefined := errors.AsType[gce.NotDefinedError](err)
	return undefined
}

// explain turns an error of ask into one that says what was tried, where, and
// what to do. A server that is not there is no identity; one that is there but
// slow or failing may recover.
func (m *metadata) explain(ctx context.Context, path string, err error) error {
	if m.last.host == "" { // the library could not even make a request
		return fmt.Errorf("GCE_METADATA_HOST is %q: write it as host or host:port: %w", os.Getenv("GCE_METADATA_HOST"), auth.ErrNoIdentity)
	}
	entry, _, _ := strings.Cut(path, "?")
	reason, decision := explained(ctx, err)
	return fmt.Errorf("reading %s from Google's metadata server at http://%s: %s: %w", entry, m.last.host, reason, decision)
}

func explained(ctx context.Context, err error) (reason string, decision error) {
	dial, isNetwork := errors.AsType[*net.OpError](err)
	_, isPassing := errors.AsType[status](err)
	answer, isRefusal := errors.AsType[*gce.Error](err)
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return "given up", auth.ErrUnavailable
	case errors.Is(err, imds.ErrRedirect), errors.Is(err, imds.ErrTooLarge):
		return "something else answers there: " + err.Error(), auth.ErrNoIdentity
	case isPassing:
		return err.Error(), auth.ErrUnavailable
	case errors.Is(err, errForeign):
		return "something else answers there, such as a proxy: " + err.Error(), auth.ErrNoIdentity
	case isNetwork && dial.Op == "dial":
		return "nothing answers (" + dial.Err.Error() + "): is this a Compute Engine instance?", auth.ErrNoIdentity
	case errors.Is(err, context.DeadlineExceeded):
		return "it took the connection and did not answer in time", auth.ErrUnavailable
	case isUndefined(err):
		return "it has no such entry: is this a Compute Engine instance?", auth.ErrNoIdentity
	case isRefusal && answer.Code == http.StatusForbidden:
		return "it answers 403, as it does to requests that a proxy has passed on: let this machine reach it directly", auth.ErrNoIdentity
	case isRefusal:
		return status(answer.Code).Error(), auth.ErrUnavailable // without the body, which may be anything
	}
	return "it gives no usable answer (" + err.Error() + ")", auth.ErrUnavailable
}
