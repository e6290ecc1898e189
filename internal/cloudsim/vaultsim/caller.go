package vaultsim

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

const maxSTSAnswer = 64 << 10 // bytes; a real one has 500

// caller is who STS says has signed a request.
type caller struct {
	ARN     string `xml:"GetCallerIdentityResult>Arn"`
	UserID  string `xml:"GetCallerIdentityResult>UserId"`
	Account string `xml:"GetCallerIdentityResult>Account"`
}

// send asks STS at endpoint. The client signed its own Host header, which may
// name another endpoint, and so it is kept; and Vault puts one slash more
// before the path than the client did.
func (r iamRequest) send(ctx context.Context, endpoint string) (caller, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint+"/"+r.url.RequestURI(), strings.NewReader(r.body))
	if err != nil {
		return caller{}, err
	}
	request.Host, request.Header = r.url.Host, r.headers
	transport := &http.Transport{Proxy: nil, DisableKeepAlives: true}
	client := &http.Client{Transport: transport, Timeout: 10 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := client.Do(request)
	if err != nil {
		return caller{}, fmt.Errorf("error making request: %w", err)
	}
	defer response.Body.Close()
	if response.Header.Get("Content-Type") != "text/xml" {
		return caller{}, errors.New("body of GetCallerIdentity is invalid")
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxSTSAnswer))
	if err != nil {
		return caller{}, err
	}
	if response.StatusCode != http.StatusOK {
		return caller{}, fmt.Errorf("received error code %d from STS: %s", response.StatusCode, body)
	}
	var found caller
	if err := xml.Unmarshal(body, &found); err != nil {
		return caller{}, errors.New("error parsing STS response")
	}
	return found, nil
}

// principal is the parts of a caller's ARN:
//
//	arn:aws:sts::ACCOUNT:assumed-role/ROLE/SESSION
//	arn:aws:iam::ACCOUNT:user/PATH/NAME
type principal struct {
	canonicalARN  string // with role for assumed-role, and without path and session
	name, session string
}

func parsePrincipal(arn string) (principal, error) {
	parts := strings.Split(arn, ":")
	if len(parts) != 6 || parts[0] != "arn" {
		return principal{}, fmt.Errorf("unrecognized arn: contains %d colon-separated parts, expected 6", len(parts))
	}
	segments := strings.Split(parts[5], "/")
	var p principal
	kind := segments[0]
	switch {
	case kind == "assumed-role" && len(segments) == 3:
		kind, p.name, p.session = "role", segments[1], segments[2]
	case kind == "user" && len(segments) > 1:
		p.name = segments[len(segments)-1]
	default:
		return principal{}, fmt.Errorf("unrecognized principal type: %q", parts[5])
	}
	p.canonicalARN = fmt.Sprintf("arn:%s:iam::%s:%s/%s", parts[1], parts[4], kind, p.name)
	return p, nil
}
