package gcp

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/quaymaster/quaymaster/auth"
)

func (s *Sealer) failed(operation, reason string, decision error) error {
	return fmt.Errorf("Cloud KMS, %s by %s: %s: %w", operation, s.key, strings.ReplaceAll(reason, "\n", " "), decision)
}

// noToken says what it means that the machine has no access token.
func (s *Sealer) noToken(ctx context.Context, operation string, err error) error {
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("%w: %w", s.failed(operation, "given up", auth.ErrSealUnavailable), ctx.Err())
	case errors.Is(err, auth.ErrNoIdentity) || errors.Is(err, auth.ErrRefused):
		return s.failed(operation, "no access token: "+err.Error(), auth.ErrSealRefused)
	}
	return s.failed(operation, "no access token: "+err.Error(), auth.ErrSealUnavailable)
}

func (s *Sealer) unreachable(ctx context.Context, operation string, err error) error {
	cause := err
	if request, is := errors.AsType[*url.Error](err); is {
		cause = request.Err // the rest repeats method and URL
	}
	reason := "it cannot be reached (" + cause.Error() + "): check the network and HTTPS_PROXY"
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("%w: %w", s.failed(operation, "given up", auth.ErrSealUnavailable), ctx.Err())
	case errors.Is(err, errRedirect):
		reason = errRedirect.Error() + ": is that Google's API?"
	case errors.Is(err, context.DeadlineExceeded):
		reason = "it did not answer in time: check the network and HTTPS_PROXY"
	}
	return s.failed(operation, reason, auth.ErrSealUnavailable)
}

// refused says what an answer means and what to do. Only what Google itself says
// is a decision: a proxy has pages for 403 and 404, too. Its message is read and
// never repeated.
func (s *Sealer) refused(operation string, code int, r *refusal) error {
	said := fmt.Sprintf("it answers %d", code)
	if r == nil || r.Status == "" {
		if code < http.StatusInternalServerError && code != http.StatusTooManyRequests {
			said += ", and not as Google does: is that Google's API?"
		}
		return s.failed(operation, said, auth.ErrSealUnavailable)
	}
	reason, decision := "", auth.ErrSealUnavailable
	switch {
	case code == http.StatusTooManyRequests:
		reason = "the project's quota is used up: see cloudkms.googleapis.com among its quotas"
	case code == http.StatusUnauthorized:
		reason = "it does not accept the access token; the next try has a new one"
	case code == http.StatusForbidden:
		reason, decision = s.forbidden(r), auth.ErrSealRefused
	case code == http.StatusNotFound:
		reason, decision = "there is no such key: correct its name", auth.ErrSealRefused
	case code == http.StatusBadRequest && strings.Contains(r.Message, "checksum"):
		reason = damaged
	case r.Status == "FAILED_PRECONDITION":
		reason, decision = "the key, or the version that sealed it, is disabled or destroyed: enable it (gcloud kms keys versions enable)", auth.ErrSealRefused
	case code == http.StatusBadRequest && operation == "decrypt":
		reason, decision = "it does not open: it was altered, or sealed by another key or for another host", auth.ErrNotSealedHere
	case code == http.StatusBadRequest:
		reason, decision = "it does not seal by that key: its purpose must be ENCRYPT_DECRYPT", auth.ErrSealRefused
	}
	if reason != "" {
		said += ": " + reason
	}
	return s.failed(operation, said, decision)
}

// forbidden tells apart who has to change what.
func (s *Sealer) forbidden(r *refusal) string {
	project := keyName.FindStringSubmatch(s.key)[1]
	switch {
	case r.has("ACCESS_TOKEN_SCOPE_INSUFFICIENT"):
		return "this instance's access scopes leave Cloud KMS out: stop it and give it all of them " +
			"(gcloud compute instances set-service-account --scopes=cloud-platform)"
	case r.has("SERVICE_DISABLED"):
		return "the project does not use Cloud KMS: gcloud services enable cloudkms.googleapis.com --project=" + project
	case r.has("SECURITY_POLICY_VIOLATED"):
		return "the project's VPC Service Controls do not let this machine in: ask whoever keeps the perimeter"
	}
	return "the service account may not use the key: grant it roles/cloudkms.cryptoKeyEncrypterDecrypter on it " +
		"(gcloud kms keys add-iam-policy-binding)"
}
