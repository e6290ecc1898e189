package aws

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials/endpointcreds"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/auth/internal/imds"
)

// The variables with which ECS (and others that hand out keys as it does) tell
// a container where its role's keys are: "Container credential provider" in the
// AWS SDKs and Tools Reference Guide.
const (
	relativeVariable  = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"
	fullVariable      = "AWS_CONTAINER_CREDENTIALS_FULL_URI"
	tokenVariable     = "AWS_CONTAINER_AUTHORIZATION_TOKEN"
	tokenFileVariable = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"

	ecsAgent = "http://169.254.170.2"
)

// keyEndpoint is where the keys of a container's role are.
type keyEndpoint struct {
	url       string // its path is worth the keys to others on this host
	variable  string // that named it
	token     string
	tokenFile string
}

// containerEndpoint reads the variables, with the rules of AWS's own SDKs: the
// relative one counts before the full one, a file before a token, and without
// TLS the host must be one that only this machine can be. It is nil when
// neither is set.
func containerEndpoint(getenv func(string) string) (*keyEndpoint, error) {
	e := &keyEndpoint{token: getenv(tokenVariable), tokenFile: getenv(tokenFileVariable)}
	if path := getenv(relativeVariable); path != "" {
		if !strings.HasPrefix(path, "/") {
			return nil, fmt.Errorf("%s does not begin with a slash: leave it as ECS sets it: %w", relativeVariable, auth.ErrNoIdentity)
		}
		e.url, e.variable = ecsAgent+path, relativeVariable
		return e, nil
	}
	e.url, e.variable = getenv(fullVariable), fullVariable
	if e.url == "" {
		return nil, nil
	}
	u, err := url.Parse(e.url)
	if err != nil || u.Hostname() == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, fmt.Errorf("%s is no URL of http or https with a host: %w", fullVariable, auth.ErrNoIdentity)
	}
	if u.Scheme == "http" && !ofThisMachine(u.Hostname()) {
		return nil, fmt.Errorf("%s names %s by http: without TLS keys are taken from this machine only "+
			"(loopback, 169.254.170.2, 169.254.170.23): %w", fullVariable, u.Hostname(), auth.ErrNoIdentity)
	}
	return e, nil
}

// ofThisMachine reports whether host is loopback or the address of the agent
// of ECS or EKS. Names but localhost are not looked up.
func ofThisMachine(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip.IsLoopback() || ip.Equal(net.IPv4(169, 254, 170, 2)) ||
		ip.Equal(net.IPv4(169, 254, 170, 23)) || ip.Equal(net.ParseIP("fd00:ec2::23"))
}

// taskRole is the ARN of a container's role; empty: the endpoint did not say.
type taskRole string

// roleARN keeps whatever else answers there out of logs.
var roleARN = regexp.MustCompile(`^arn:[a-z-]+:iam::[0-9]{12}:role/[!-~]{1,600}$`)

func (r taskRole) describe() string {
	if r == "" {
		return "the role of this container"
	}
	return string(r) + " (role of this container)"
}

func (r taskRole) partition() string {
	if parts := strings.Split(string(r), ":"); len(parts) == 6 {
		return parts[1]
	}
	return partition(globalRegion)
}

// keys asks the endpoint once.
func (e *keyEndpoint) keys(ctx context.Context) (sdk.Credentials, taskRole, error) {
	token, err := e.authorization()
	if err != nil {
		return sdk.Credentials{}, "", err
	}
	agent := &roleReader{lastAnswer: lastAnswer{client: imds.NewClient(), now: time.Now}}
	found, err := endpointcreds.New(e.url, func(o *endpointcreds.Options) {
		o.HTTPClient, o.Retryer, o.AuthorizationToken = agent, sdk.NopRetryer{}, token
	}).Retrieve(ctx)
	if err == nil && (found.AccessKeyID == "" || found.SecretAccessKey == "") {
		err = errors.New("no keys in it")
	}
	if err != nil {
		return sdk.Credentials{}, "", e.explain(ctx, &agent.lastAnswer, err)
	}
	found.Source = "container credentials"
	return found, agent.role, nil
}

// authorization is the token to show. A file is read anew each time: whoever
// provides it rotates it.
func (e *keyEndpoint) authorization() (string, error) {
	if e.tokenFile == "" {
		return e.token, nil
	}
	content, err := os.ReadFile(e.tokenFile)
	if err != nil {
		return "", fmt.Errorf("reading the token for this container's role, as %s says: %w: %w", tokenFileVariable, err, auth.ErrUnavailable)
	}
	return strings.TrimSpace(string(content)), nil
}

// roleReader also reads the role's ARN, which the SDK leaves where it is.
type roleReader struct {
	lastAnswer
	role taskRole
}

// Do implements the SDK's HTTPClient.
func (r *roleReader) Do(request *http.Request) (*http.Response, error) {
	response, err := r.lastAnswer.Do(request)
	if err != nil {
		return nil, err
	}
	content, err := io.ReadAll(response.Body)
	response.Body.Close()
	if err != nil {
		r.err = err
		return nil, err
	}
	var named struct{ RoleArn string }
	if json.Unmarshal(content, &named) == nil && roleARN.MatchString(named.RoleArn) {
		r.role = taskRole(named.RoleArn)
	}
	response.Body = io.NopCloser(bytes.NewReader(content))
	return response, nil
}

var containerHints = hints{
	absent: "is this a container of ECS, and the ECS agent running? Unset the variable if not",
	slow:   "look at the ECS agent on this host",
}

// explain leaves out the URL's path, which others must not learn.
func (e *keyEndpoint) explain(ctx context.Context, last *lastAnswer, err error) error {
	if last.err != nil {
		err = last.err
	}
	reason, decision := networkReason(ctx, err, containerHints)
	switch {
	case decision != nil:
	case last.status == http.StatusUnauthorized || last.status == http.StatusForbidden:
		reason, decision = fmt.Sprintf("it answers %d: check %s or %s", last.status, tokenVariable, tokenFileVariable), auth.ErrUnavailable
	case last.status == http.StatusBadRequest || last.status == http.StatusNotFound:
		reason, decision = fmt.Sprintf("it answers %d, so it knows no such task: give the task a role (taskRoleArn), "+
			"and leave %s as ECS sets it", last.status, e.variable), auth.ErrNoIdentity
	case last.status != 0 && last.status != http.StatusOK:
		reason, decision = fmt.Sprintf("it answers %d", last.status), auth.ErrUnavailable
	default:
		reason, decision = "it gives no usable answer", auth.ErrUnavailable // the error may quote what came
	}
	return fmt.Errorf("reading the keys of this container's role, as %s says%s: %s: %w", e.variable, last.where(), reason, decision)
}
