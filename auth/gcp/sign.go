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
	"path"
	"strings"
	"time"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/broker/secret"
)

const (
	// claimsLife is how long signed claims are good. A role of Vault takes 15
	// minutes at most unless it says otherwise (max_jwt_exp), so a clock may be
	// wrong by five minutes either way.
	claimsLife = 10 * time.Minute
	// signTimeout bounds the request to IAM, which may go around the world.
	signTimeout = 10 * time.Second
	maxAnswer   = 64 << 10 // bytes; a signed JWT has a thousand
)

// signedClaims has IAM sign claims in the name of the instance's service
// account.
func (a *Attestor) signedClaims(ctx context.Context, audience string) (identity, secret.Value, error) {
	host, access, err := account(ctx)
	if err != nil {
		return identity{}, secret.Value{}, err
	}
	claims, err := json.Marshal(map[string]any{"sub": host.account, "aud": audience, "exp": a.now().Add(claimsLife).Unix()})
	if err != nil {
		return identity{}, secret.Value{}, fmt.Errorf("writing the claims: %w", err)
	}
	jwt, err := a.sign(ctx, host.account, access, claims)
	return host, jwt, err
}

// account asks the metadata server who this machine is, and for an access
// token of its service account.
func account(ctx context.Context) (identity, secret.Value, error) {
	limited, cancel := context.WithTimeout(ctx, attestTimeout)
	defer cancel()
	server, host := newMetadata(), identity{}
	var err error
	if host.account, err = server.ofAccount(limited, "email"); err != nil {
		return identity{}, secret.Value{}, err
	}
	for _, fact := range []struct {
		entry string
		into  *string
	}{{"instance/name", &host.instance}, {"instance/zone", &host.zone}, {"project/project-id", &host.project}} {
		if *fact.into, err = server.get(limited, fact.entry); err != nil {
			return identity{}, secret.Value{}, err
		}
	}
	host.zone = path.Base(host.zone) // projects/NUMBER/zones/ZONE
	answer, err := server.ofAccount(limited, "token")
	if err != nil {
		return identity{}, secret.Value{}, err
	}
	var access struct {
		Token string `json:"access_token"`
	}
	if err := json.Unmarshal([]byte(answer), &access); err != nil || access.Token == "" {
		return identity{}, secret.Value{}, fmt.Errorf("the metadata server's answer holds no access token: %w", auth.ErrUnavailable)
	}
	return host, secret.NewValue([]byte(access.Token)), nil
}

// sign calls projects.serviceAccounts.signJwt of the IAM Credentials API, as its
// reference (REST, v1) describes it.
func (a *Attestor) sign(ctx context.Context, account string, access secret.Value, claims []byte) (secret.Value, error) {
	limited, cancel := context.WithTimeout(ctx, signTimeout)
	defer cancel()
	body, err := json.Marshal(map[string]string{"payload": string(claims)})
	if err != nil {
		return secret.Value{}, fmt.Errorf("writing the request to IAM: %w", err)
	}
	address := a.endpoint + "/v1/projects/-/serviceAccounts/" + url.PathEscape(account) + ":signJwt"
	request, err := http.NewRequestWithContext(limited, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return secret.Value{}, fmt.Errorf("making the request to IAM: %w", err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Authorization", "Bearer "+string(access.Reveal())) // goes to IAM and nowhere else
	response, err := newClient().Do(request)
	if err != nil {
		return secret.Value{}, a.unreachable(ctx, err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return secret.Value{}, a.unreachable(ctx, err)
	}
	return a.signed(account, response.StatusCode, answer)
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

func (a *Attestor) unreachable(ctx context.Context, err error) error {
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
	return fmt.Errorf("asking the IAM Credentials API at %s to sign: %s: %w", a.endpoint, reason, auth.ErrUnavailable)
}

// signed reads IAM's answer.
func (a *Attestor) signed(account string, code int, answer []byte) (secret.Value, error) {
	var said struct {
		Signed string  `json:"signedJwt"`
		Error  refusal `json:"error"`
	}
	err := json.Unmarshal(answer, &said)
	if err == nil && code == http.StatusOK && said.Signed != "" {
		return secret.NewValue([]byte(said.Signed)), nil
	}
	reason, decision := said.Error.explain(account, code)
	return secret.Value{}, fmt.Errorf("asking the IAM Credentials API at %s to sign: %s: %w", a.endpoint, reason, decision)
}

// refusal is an error as Google's APIs answer it.
type refusal struct {
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

// explain says what an answer means and what to do. What somebody has to
// change first is no identity; the rest may pass.
func (r refusal) explain(account string, code int) (reason string, decision error) {
	said := fmt.Sprintf("it answers %d", code)
	if message := strings.Join(strings.Fields(r.Message), " "); message != "" && len(message) < 300 {
		said += " (" + strings.TrimSuffix(message, ".") + ")"
	}
	switch {
	case r.has("ACCESS_TOKEN_SCOPE_INSUFFICIENT"):
		return said + ": this instance's access scopes leave IAM out: stop it and give it all of them " +
			"(gcloud compute instances set-service-account --scopes=cloud-platform)", auth.ErrNoIdentity
	case r.has("SERVICE_DISABLED"):
		return said + ": gcloud services enable iamcredentials.googleapis.com", auth.ErrNoIdentity
	case code == http.StatusForbidden || code == http.StatusNotFound:
		return said + ": let " + account + " sign in its own name: grant it roles/iam.serviceAccountTokenCreator on itself " +
			"(gcloud iam service-accounts add-iam-policy-binding)", auth.ErrNoIdentity
	case code == http.StatusOK:
		return "its answer holds no signed JWT: is that Google's API?", auth.ErrUnavailable
	case code == http.StatusBadRequest:
		return said + ": is this machine's clock right?", auth.ErrUnavailable
	}
	return said, auth.ErrUnavailable
}
