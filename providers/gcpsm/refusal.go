package gcpsm

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/providers"
)

// refusal is an error as Google's APIs answer it (google.rpc.Status). Its
// message is read and never repeated: it may hold anything.
type refusal struct {
	Status  string `json:"status"` // of google.rpc.Code
	Message string `json:"message"`
	Details []struct {
		Reason string `json:"reason"` // of google.rpc.ErrorInfo
	} `json:"details"`
}

// codes are how Google writes statuses and reasons.
var codes = regexp.MustCompile(`^[A-Z][A-Z0-9_]{0,62}$`)

// said is status and reasons in one line.
func (r *refusal) said(code int) string {
	words := []string{fmt.Sprintf("it answers %d", code)}
	if r == nil {
		return words[0]
	}
	if codes.MatchString(r.Status) {
		words = append(words, r.Status)
	}
	for _, detail := range r.Details {
		if codes.MatchString(detail.Reason) {
			words = append(words, "("+detail.Reason+")")
		}
	}
	return strings.Join(words, " ")
}

func (r *refusal) has(reason string) bool {
	for _, detail := range r.Details {
		if detail.Reason == reason {
			return true
		}
	}
	return false
}

// errPermission: the account lacks the permission for this one method.
var errPermission = errors.New("the service account may not")

// refused says what an answer means and what to do. Only what Google itself
// says is a decision: a proxy has pages for 403 and 404, too.
func (n name) refused(code int, r *refusal, method string) error {
	said := r.said(code)
	unavailable := func(reason string) error { return n.failed(providers.ErrUnavailable, "%s%s", said, reason) }
	switch {
	case code == http.StatusTooManyRequests:
		return unavailable(": the project's quota is used up: see secretmanager.googleapis.com among its quotas")
	case code >= 500:
		return unavailable("")
	case r == nil || r.Status == "":
		return unavailable(", and not as Google does: is that Google's API?")
	case code == http.StatusUnauthorized:
		return unavailable(": it does not accept the access token; the next try has a new one")
	case code == http.StatusForbidden:
		return n.forbidden(said, r, method)
	case code == http.StatusNotFound:
		return n.failed(providers.ErrNotFound, "%s: there is no such secret or version (see gcloud secrets versions list %s)", said, n.flags())
	case r.Status == "FAILED_PRECONDITION":
		reason, decision := inState(r.Message)
		return n.failed(decision, "%s: %s", said, reason)
	case code == http.StatusBadRequest:
		return n.failed(providers.ErrInvalid, "%s: it does not understand the name", said)
	}
	return unavailable("")
}

// forbidden tells apart who has to change what.
func (n name) forbidden(said string, r *refusal, method string) error {
	remedy := ""
	switch {
	case r.has("ACCESS_TOKEN_SCOPE_INSUFFICIENT"):
		remedy = "this instance's access scopes leave Secret Manager out: stop it and give it all of them " +
			"(gcloud compute instances set-service-account --scopes=cloud-platform)"
	case r.has("SERVICE_DISABLED"):
		remedy = "the project does not use Secret Manager: gcloud services enable secretmanager.googleapis.com --project=" + n.project
	case r.has("SECURITY_POLICY_VIOLATED"):
		remedy = "the project's VPC Service Controls do not let this machine in: ask whoever keeps the perimeter"
	case method == "":
		return n.failed(providers.ErrDenied, "%s: %w see the version: grant it roles/secretmanager.viewer on the secret", said, errPermission)
	default:
		return n.failed(providers.ErrDenied, "%s: %w read it: grant it roles/secretmanager.secretAccessor on that secret "+
			"(gcloud secrets add-iam-policy-binding %s --member=serviceAccount:EMAIL --role=roles/secretmanager.secretAccessor)", said, errPermission, n.flags())
	}
	return n.failed(providers.ErrDenied, "%s: %s", said, remedy)
}

// inState says what follows from the state of a version, which the text names.
// Somebody has disabled a version, and may enable it again; what is destroyed is
// gone.
func inState(text string) (reason string, decision error) {
	switch {
	case strings.Contains(text, "DESTROYED"):
		return "the version is destroyed: add a new one", providers.ErrNotFound
	case strings.Contains(text, "DISABLED"):
		return "the version is disabled: enable it, or add a new one (gcloud secrets versions)", providers.ErrDenied
	}
	return "the version cannot be read as it is: see its state, and that of the key that encrypts it", providers.ErrDenied
}

// noToken says what it means that there is no access token.
func (n name) noToken(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return n.failed(providers.ErrUnavailable, "given up while waiting for an access token: %w", ctx.Err())
	case errors.Is(err, auth.ErrUnavailable):
		return n.failed(providers.ErrUnavailable, "no access token: %w", err)
	}
	return n.failed(providers.ErrDenied, "no access token: %w", err)
}
