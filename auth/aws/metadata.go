package aws

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	sdkimds "github.com/aws/aws-sdk-go-v2/feature/ec2/imds"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/auth/internal/imds"
)

// metadata is EC2's instance metadata service for the length of one
// attestation; the session token that its client keeps ends with it.
type metadata struct {
	client *sdkimds.Client
	last   *lastAnswer
}

// newMetadata speaks IMDSv2 only. It honours the SDK's own variables for
// another endpoint, and leaves repeating to whoever logs in. now is this host's
// clock, to be compared with the service's.
func newMetadata(now func() time.Time) (*metadata, error) {
	if strings.EqualFold(os.Getenv("AWS_EC2_METADATA_DISABLED"), "true") {
		return nil, fmt.Errorf("AWS_EC2_METADATA_DISABLED is true, so EC2's metadata service was not asked: unset it: %w", auth.ErrNoIdentity)
	}
	last := &lastAnswer{client: imds.NewClient(), now: now}
	options := sdkimds.Options{HTTPClient: last, EnableFallback: sdk.FalseTernary, Retryer: sdk.NopRetryer{}}
	if err := options.EndpointMode.SetFromString(os.Getenv("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE")); err != nil {
		return nil, fmt.Errorf("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE: %w: %w", err, auth.ErrNoIdentity)
	}
	return &metadata{client: sdkimds.New(options), last: last}, nil
}

// lastAnswer remembers how the last request went, because the SDK's error for
// a failed session token hides its cause, and what time it was there.
type lastAnswer struct {
	client *http.Client
	now    func() time.Time
	url    *url.URL
	status int // zero: no answer
	err    error
	clock  imds.Clock
}

// Do implements the SDK's HTTPClient.
func (l *lastAnswer) Do(request *http.Request) (*http.Response, error) {
	response, err := l.client.Do(request)
	l.url, l.status, l.err = request.URL, 0, err
	if err == nil {
		l.status = response.StatusCode
		l.clock.Note(response.Header, l.now())
	}
	return response, err
}

// forToken reports whether the last request was for a session token, which
// makes IMDSv2 what it is.
func (l *lastAnswer) forToken() bool {
	return l.url != nil && strings.HasSuffix(l.url.Path, "/api/token")
}

// explain turns an error of the client into one that says what was tried,
// where, and what to do. A service that is not there is no identity; one that
// is there but slow or failing may recover.
func (m *metadata) explain(ctx context.Context, doing string, err error) error {
	if m.last.err != nil {
		err = m.last.err // the SDK may have cut it off
	}
	reason, decision := networkReason(ctx, err, metadataHints)
	if decision == nil {
		reason, decision = m.statusReason(err)
	}
	return fmt.Errorf("%s from EC2's metadata service%s: %s: %w", doing, m.last.where(), reason, decision)
}

func (l *lastAnswer) where() string {
	if l.url == nil {
		return ""
	}
	return " at " + l.url.Scheme + "://" + l.url.Host
}

const enable = "aws ec2 modify-instance-metadata-options --http-endpoint enabled --http-tokens required"

// hints say what to do when nothing answers, and when nothing answers in time.
type hints struct{ absent, slow string }

var metadataHints = hints{
	absent: "is this an EC2 instance, with the service enabled (" + enable + ")?",
	slow: "if this agent runs in a container, let answers pass one more hop " +
		"(aws ec2 modify-instance-metadata-options --http-put-response-hop-limit 2)",
}

// networkReason explains a request that brought no answer, or none that can be
// a metadata service's. The decision is nil for other errors.
func networkReason(ctx context.Context, err error, do hints) (reason string, decision error) {
	dial, isNetwork := errors.AsType[*net.OpError](err)
	timeout, isTimeout := errors.AsType[net.Error](err)
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return "given up", auth.ErrUnavailable
	case errors.Is(err, imds.ErrRedirect):
		return "something else answers there: " + imds.ErrRedirect.Error(), auth.ErrNoIdentity
	case errors.Is(err, imds.ErrTooLarge):
		return "something else answers there: " + imds.ErrTooLarge.Error(), auth.ErrNoIdentity
	case isNetwork && dial.Op == "dial":
		return "nothing answers (" + dial.Err.Error() + "): " + do.absent, auth.ErrNoIdentity
	case isTimeout && timeout.Timeout():
		return "it took the connection and did not answer in time: " + do.slow, auth.ErrUnavailable
	}
	return "", nil
}

func (m *metadata) statusReason(err error) (reason string, decision error) {
	switch code := m.last.status; {
	case m.last.forToken() && code == http.StatusForbidden:
		return "it answers 403: it is turned off for this instance: turn it on (" + enable + ")", auth.ErrNoIdentity
	case m.last.forToken() && (code == http.StatusNotFound || code == http.StatusMethodNotAllowed):
		return fmt.Sprintf("it has no session tokens (%d), so it speaks IMDSv1 only; IMDSv2 is required: enable it (%s)", code, enable), auth.ErrNoIdentity
	case m.last.forToken() && code == http.StatusOK:
		return "something else answers there: what it gives is no session token", auth.ErrNoIdentity
	case code != 0 && code != http.StatusOK:
		return fmt.Sprintf("it answers %d", code), auth.ErrUnavailable
	}
	return "it gives no usable answer (" + err.Error() + ")", auth.ErrUnavailable
}
