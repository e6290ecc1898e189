package aws

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/auth/awsclient"
	"github.com/quaymaster/quaymaster/auth/bounded"
)

// errNotKMS: what answered is not KMS.
var errNotKMS = errors.New("its answer is not KMS's: check what the endpoint or the proxy is")

// explain finds the decision that follows from an error of the SDK, of which
// nothing is kept: some carry what was answered, or the request.
func (s *Sealer) explain(ctx context.Context, action string, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%w: %w", s.failed(action, "given up", auth.ErrSealUnavailable), ctx.Err())
	}
	if errors.Is(err, auth.ErrNoIdentity) || errors.Is(err, auth.ErrRefused) || errors.Is(err, auth.ErrUnavailable) {
		return s.noKeys(action, err)
	}
	status := 0
	if response, is := errors.AsType[*smithyhttp.ResponseError](err); is {
		status = response.HTTPStatusCode()
	}
	refused, isRefusal := errors.AsType[smithy.APIError](err)
	timeout, isNetwork := errors.AsType[net.Error](err)
	large, isLarge := errors.AsType[*bounded.TooLarge](err)
	unavailable := func(reason string) error { return s.failed(action, reason, auth.ErrSealUnavailable) }
	switch {
	case isLarge:
		return unavailable(large.Error() + ", and so not KMS's: check what the endpoint or the proxy is")
	case errors.Is(err, context.DeadlineExceeded) || (isNetwork && timeout.Timeout()):
		return unavailable(fmt.Sprintf("no answer within %s: check the way there", kmsTimeout))
	case isRefusal && status >= http.StatusBadRequest:
		return s.refusal(action, refused, status)
	case status >= http.StatusInternalServerError:
		return unavailable(fmt.Sprintf("AWS failed (%d)", status))
	case status != 0 || errors.Is(err, errNotKMS):
		return unavailable(errNotKMS.Error())
	}
	return unavailable("it cannot be reached (" + awsclient.Cause(err) + "): check the region, the endpoint and the way there")
}

// noKeys says what it means that the machine has no keys to sign with.
func (s *Sealer) noKeys(action string, err error) error {
	decision := auth.ErrSealRefused
	if errors.Is(err, auth.ErrUnavailable) {
		decision = auth.ErrSealUnavailable
	}
	for inner := errors.Unwrap(err); inner != nil; inner = errors.Unwrap(inner) {
		if said := errors.Unwrap(inner); said == auth.ErrNoIdentity || said == auth.ErrRefused || said == auth.ErrUnavailable {
			err = inner // the SDK's own words around it tell nothing
			break
		}
	}
	return s.failed(action, "no keys of this machine's role: "+err.Error(), decision)
}

// refusal finds the decision that follows from a code of KMS's: "Errors" of
// Encrypt and Decrypt in the KMS API reference, and "Common Errors".
func (s *Sealer) refusal(action string, refused smithy.APIError, status int) error {
	code := awsclient.Code(refused.ErrorCode())
	_, throttled := retry.DefaultThrottleErrorCodes[code]
	reason, decision := fmt.Sprintf("AWS answers %s (%d)", code, status), auth.ErrSealUnavailable
	switch {
	case throttled:
		reason = "AWS limits requests (" + code + ")"
	case code == "InvalidCiphertextException" || code == "IncorrectKeyException":
		reason, decision = "it does not open ("+code+"): it was altered, or sealed by another key or for another host", auth.ErrNotSealedHere
	case code == "AccessDeniedException" || code == "AccessDenied":
		reason, decision = s.denied(action, refused.ErrorMessage()), auth.ErrSealRefused
	case code == "NotFoundException":
		reason, decision = "there is no such key in region "+s.region+": correct its name", auth.ErrSealRefused
	case code == "DisabledException":
		reason, decision = "the key is disabled: enable it (aws kms enable-key)", auth.ErrSealRefused
	case code == "KMSInvalidStateException":
		reason, decision = "the key is about to be deleted, or has no material: cancel that (aws kms cancel-key-deletion), or name another", auth.ErrSealRefused
	case code == "InvalidKeyUsageException" || code == "ValidationException" || code == "InvalidArnException":
		reason, decision = "AWS cannot seal with it ("+code+"): it must be a symmetric key for ENCRYPT_DECRYPT", auth.ErrSealRefused
	case code == "ExpiredTokenException" || code == "UnrecognizedClientException" || code == "ExpiredToken" || code == "InvalidClientTokenId":
		s.keys.Invalidate()
		reason = "AWS does not take the role's keys (" + code + "): they are asked for anew; check that the role exists and the region is enabled"
	case strings.Contains(code, "Signature") || code == "RequestExpired" || code == "RequestTimeTooSkewed":
		reason = "AWS does not take the signature (" + code + "): check this machine's clock"
	}
	return s.failed(action, reason, decision)
}

func (s *Sealer) denied(action, message string) string {
	who := cmp.Or(awsclient.Denied(message), "this machine's role") // nothing else of it is passed on
	where := "in the role's policy, or in the key's"
	switch lower := strings.ToLower(message); {
	case strings.Contains(lower, "explicit deny"):
		where = "where a policy denies it explicitly"
	case strings.Contains(lower, "resource-based policy"):
		where = "in the key's own policy"
	}
	return "AWS denies it to " + who + ": allow " + action + " " + where
}
