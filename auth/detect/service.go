package detect

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/auth/internal/imds"
)

// The variables by which SDKs are told of another address of a metadata service.
const (
	awsVariable = "AWS_EC2_METADATA_SERVICE_ENDPOINT"
	gcpVariable = "GCE_METADATA_HOST"
)

// Clock is this host's clock beside another one.
type Clock = imds.Clock

// Reach is how far a metadata service's answers go: whether what runs in a
// container of this host, behind a bridge, can be this host.
type Reach int

const (
	// Untold: the service knows no such bound (Azure, GCP) and answers containers
	// unless the host's packet filter keeps them from asking; or it could not be
	// found out.
	Untold Reach = iota
	// HostOnly: answers end at this host.
	HostOnly
	// Farther: session tokens pass one more hop at the least.
	Farther
	// Sessionless: the service answers without a session token (IMDSv1), which
	// no bound holds for.
	Sessionless
)

// Service is a metadata service that answered as it should.
type Service struct {
	Address string
	Clock   Clock // this host's beside the service's
	Reach   Reach
}

// Look asks the metadata service of a cloud what it tells without a proof of
// identity being made. An error says what was answered, and where; it wraps
// auth.ErrNoIdentity when the service does not exist or is turned off.
func Look(ctx context.Context, cloud Cloud, o Options) (Service, error) {
	probe := probes[cloud]
	if probe == nil {
		return Service{}, fmt.Errorf("%w: there is no metadata service of %q", auth.ErrNoIdentity, cloud)
	}
	s := Service{Address: o.service(cloud)}
	if cloud == AWS && strings.EqualFold(o.Getenv("AWS_EC2_METADATA_DISABLED"), "true") {
		return s, fmt.Errorf("AWS_EC2_METADATA_DISABLED is true, so EC2's metadata service is not asked: %w", auth.ErrNoIdentity)
	}
	client := imds.NewClient()
	client.Transport = noting{client.Transport, &s.Clock}
	if err := probe(ctx, client, s.Address); err != nil {
		decision := auth.ErrUnavailable
		if refused, ok := errors.AsType[*statusError](err); ok && refused.off() || errors.Is(err, syscall.ECONNREFUSED) {
			decision = auth.ErrNoIdentity
		}
		return s, fmt.Errorf("the metadata service at %s: %s: %w", s.Address, reason(err), decision)
	}
	if cloud == AWS {
		s.Reach = reachOfAWS(ctx, s.Address)
	}
	return s, nil
}

// service is where the cloud's metadata service is: an option, the variable of
// the cloud's own SDK, or the address that all three have.
func (o Options) service(cloud Cloud) string {
	if base := o.Endpoints[cloud]; base != "" {
		return base
	}
	switch {
	case cloud == AWS && o.Getenv(awsVariable) != "":
		return strings.TrimSuffix(o.Getenv(awsVariable), "/")
	case cloud == AWS && strings.EqualFold(o.Getenv(awsVariable+"_MODE"), "IPv6"):
		return "http://[fd00:ec2::254]" // as in AWS's SDKs
	case cloud == GCP && o.Getenv(gcpVariable) != "":
		return "http://" + o.Getenv(gcpVariable)
	}
	return linkLocal
}

// noting notes what time it is where answers come from.
type noting struct {
	http.RoundTripper
	clock *Clock
}

// RoundTrip implements http.RoundTripper.
func (n noting) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := n.RoundTripper.RoundTrip(request)
	if err == nil {
		n.clock.Note(response.Header, time.Now())
	}
	return response, err
}

// reachOfAWS finds out the hop limit without asking EC2's API, which takes a
// permission that a host need not have: EC2 sends the answer to the request for
// a session token with the hop limit as its TTL ("Use IMDSv2" in the EC2 User
// Guide), and this socket takes no packet that has less than two hops left. What
// the limit is not for are answers without a session (IMDSv1).
func reachOfAWS(ctx context.Context, base string) Reach {
	if _, _, err := ask(ctx, imds.NewClient(), http.MethodGet, base+"/latest/meta-data/instance-id", "Accept", "text/plain"); err == nil {
		return Sessionless
	}
	client := imds.NewClient()
	client.Timeout = imds.DialTimeout
	client.Transport = &http.Transport{
		DialContext: (&net.Dialer{Timeout: imds.DialTimeout, Control: withHopsLeft}).DialContext, DisableKeepAlives: true,
	}
	for range 2 { // one silence may be a packet that was lost
		_, _, err := ask(ctx, client, http.MethodPut, base+"/latest/api/token", "X-aws-ec2-metadata-token-ttl-seconds", "60")
		if err == nil {
			return Farther
		}
		if silence, ok := errors.AsType[net.Error](err); !ok || !silence.Timeout() || ctx.Err() != nil {
			return Untold
		}
	}
	return HostOnly
}

// withHopsLeft has the kernel drop what arrives with a TTL below two (ip(7),
// IP_MINTTL; ipv6(7) has IPV6_MINHOPCOUNT for it).
func withHopsLeft(network, _ string, connection syscall.RawConn) error {
	level, option := unix.IPPROTO_IP, unix.IP_MINTTL
	if network == "tcp6" {
		level, option = unix.IPPROTO_IPV6, unix.IPV6_MINHOPCOUNT
	}
	var failed error
	err := connection.Control(func(fd uintptr) { failed = unix.SetsockoptInt(int(fd), level, option, 2) })
	return errors.Join(err, failed)
}

// statusError is an answer with another status than 200.
type statusError struct{ status int }

// Error implements error.
func (s *statusError) Error() string { return fmt.Sprintf("%v: status %d", errNotIt, s.status) }

// Unwrap returns what the answer is taken for.
func (s *statusError) Unwrap() error { return errNotIt }

// off reports whether the status says that there is no such service, or that it
// is turned off (403 of EC2's).
func (s *statusError) off() bool {
	return s.status == http.StatusForbidden || s.status == http.StatusNotFound || s.status == http.StatusMethodNotAllowed
}
