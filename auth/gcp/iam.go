package gcp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/auth/endpoint"
	"github.com/quaymaster/quaymaster/broker/secret"
)

const (
	iamCredentials = "https://iamcredentials.googleapis.com"
	// iamTimeout bounds a request to IAM, which may go around the world.
	iamTimeout = 10 * time.Second
	maxAnswer  = 64 << 10 // bytes; a signed JWT or an access token has a thousand
)

// iam is the IAM Credentials API at a base URL.
type iam string

// newIAM checks the base URL; empty is Google's.
func newIAM(address string) (iam, error) {
	if address == "" {
		return iamCredentials, nil
	}
	if _, err := endpoint.Parse(address); err != nil {
		return "", fmt.Errorf("the address of the IAM Credentials API: %w", err)
	}
	return iam(strings.TrimSuffix(address, "/")), nil
}

// call makes one request of a method on a service account, such as
// "docker-host@shop-prod.iam.gserviceaccount.com:signJwt", and returns whatever
// is answered.
func (i iam) call(ctx context.Context, doing, method string, access secret.Value, body any) (code int, answer []byte, err error) {
	limited, cancel := context.WithTimeout(ctx, iamTimeout)
	defer cancel()
	content, err := json.Marshal(body)
	if err != nil {
		return 0, nil, fmt.Errorf("writing the request to IAM: %w", err)
	}
	address := string(i) + "/v1/projects/-/serviceAccounts/" + url.PathEscape(method)
	request, err := http.NewRequestWithContext(limited, http.MethodPost, address, bytes.NewReader(content))
	if err != nil {
		return 0, nil, fmt.Errorf("making the request to IAM: %w", err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Authorization", "Bearer "+string(access.Reveal())) // goes to IAM and nowhere else
	response, err := newClient().Do(request)
	if err != nil {
		return 0, nil, i.unreachable(ctx, doing, err)
	}
	defer response.Body.Close()
	answer, err = io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return 0, nil, i.unreachable(ctx, doing, err)
	}
	return response.StatusCode, answer, nil
}

var errRedirect = errors.New("it answers with a redirect, which is not followed")

// newClient is for an API on the internet, which may lie behind a proxy; it
// carries an access token, so it follows no redirect.
func newClient() *http.Client {
	return &http.Client{
		Transport:     &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return errRedirect },
	}
}

func (i iam) unreachable(ctx context.Context, doing string, err error) error {
	cause := err
	if request, ok := errors.AsType[*url.Error](err); ok {
		cause = request.Err // the rest repeats method and URL
	}
	reason := "it cannot be reached (" + cause.Error() + "): check the network and HTTPS_PROXY"
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		reason = "given up"
	case errors.Is(err, errRedirect):
		reason = errRedirect.Error()
	case errors.Is(err, context.DeadlineExceeded):
		reason = "it did not answer in time: check the network and HTTPS_PROXY"
	}
	return i.failed(doing, reason, auth.ErrUnavailable)
}

func (i iam) failed(doing, reason string, decision error) error {
	return fmt.Errorf("asking the IAM Credentials API at %s %s: %s: %w", string(i), doing, reason, decision)
}

// refusal is an error as Google's APIs answer it.
type refusal struct {
	Status  string `json:"status"` // of google.rpc.Code
	Message string `json:"message"`
	Details []struct {
		Reason string `json:"reason"`
	} `json:"details"`
}

func (r refusal) has(reason string) bool {
	for _, detail := range r.Details {
		if detail.Reason == reason {
			return true
		}
	}
	return false
}

// said repeats what Google answered, in one line.
func (r refusal) said(code int) string {
	said := fmt.Sprintf("it answers %d", code)
	if message := strings.Join(strings.Fields(r.Message), " "); message != "" && len(message) < 300 {
		said += " (" + strings.TrimSuffix(message, ".") + ")"
	}
	return said
}

// remedy is what to do about a refusal that has nothing to do with what was
// asked; empty: it has.
func (r refusal) remedy() string {
	switch {
	case r.has("ACCESS_TOKEN_SCOPE_INSUFFICIENT"):
		return "this instance's access scopes leave IAM out: stop it and give it all of them " +
			"(gcloud compute instances set-service-account --scopes=cloud-platform)"
	case r.has("SERVICE_DISABLED"):
		return "gcloud services enable iamcredentials.googleapis.com"
	}
	return ""
}

// refused says what an answer that gives nothing means and what to do: empty is
// for a good one without content, forbidden for what the account may not do.
// What somebody has to change first is no identity; the rest may pass.
func (i iam) refused(doing string, code int, r refusal, empty, forbidden string) error {
	reason, decision := r.said(code), auth.ErrUnavailable
	switch remedy := r.remedy(); {
	case remedy != "":
		reason, decision = reason+": "+remedy, auth.ErrNoIdentity
	case code == http.StatusForbidden || code == http.StatusNotFound:
		reason, decision = reason+": "+forbidden, auth.ErrNoIdentity
	case code == http.StatusOK:
		reason = empty
	case code == http.StatusBadRequest:
		reason += ": is this machine's clock right?"
	}
	return i.failed(doing, reason, decision)
}
