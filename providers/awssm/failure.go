package awssm

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/quaymaster/quaymaster/auth/awsclient"
	"github.com/quaymaster/quaymaster/auth/bounded"
	"github.com/quaymaster/quaymaster/providers"
)

// question is what was asked of AWS, for people.
type question struct{ service, region, name, action string }

// failure is why a question got no answer. It never holds an error of the SDK,
// some of which carry what was answered, or the request with its session token.
type failure struct {
	question
	kind      error // of package providers
	reason    string
	given     error // why the caller's context ended, if it did
	elsewhere bool  // another region may do better
	keys      bool  // AWS does not take the keys
}

// Error implements error.
func (f *failure) Error() string {
	return fmt.Sprintf("%s: %s", f.kind, f.story())
}

// story is where it happened and why.
func (f *failure) story() string {
	if f.service == "" {
		return f.reason
	}
	return fmt.Sprintf("%s in %s: %s: %s", f.service, f.region, f.name, f.reason)
}

// Unwrap lets errors.Is see the kind, and the end of the caller's context.
func (f *failure) Unwrap() []error {
	if f.given == nil {
		return []error{f.kind}
	}
	return []error{f.kind, f.given}
}

// explain finds the decision that follows from an error of the SDK.
func (p *Provider) explain(ctx context.Context, q question, err error) *failure {
	failed := explain(ctx, q, err)
	if failed.keys {
		p.forgetKeys()
	}
	return failed
}

func explain(ctx context.Context, q question, err error) *failure {
	unavailable := func(reason string, elsewhere bool) *failure {
		return &failure{question: q, kind: providers.ErrUnavailable, reason: reason, elsewhere: elsewhere}
	}
	if ctx.Err() != nil {
		f := unavailable("the request was given up", false)
		f.given = ctx.Err()
		return f
	}
	if inner, is := errors.AsType[*failure](err); is { // there are no keys to ask with
		f := *inner
		f.reason, f.question, f.elsewhere = inner.story(), q, false
		return &f
	}
	status := 0
	if response, is := errors.AsType[*smithyhttp.ResponseError](err); is {
		status = response.HTTPStatusCode()
	}
	timeout, isNetwork := errors.AsType[net.Error](err)
	refused, isRefusal := errors.AsType[smithy.APIError](err)
	large, isLarge := errors.AsType[*bounded.TooLarge](err)
	switch {
	case isLarge:
		return unavailable(large.Error(), true)
	case isNetwork && timeout.Timeout():
		return unavailable(fmt.Sprintf("no answer within %s", requestTimeout), true)
	case isNetwork || errors.Is(err, io.ErrUnexpectedEOF): // perhaps in the middle of an answer
		return unavailable("it cannot be reached ("+awsclient.Cause(err)+"): "+checkWay, true)
	case status >= http.StatusInternalServerError:
		return unavailable(fmt.Sprintf("AWS failed (%d)", status), true)
	case isRefusal && status >= http.StatusBadRequest:
		return refusal(q, refused, status)
	case status != 0:
		return unavailable(fmt.Sprintf("the answer (%d) is not AWS's: check what the endpoint or the proxy is", status), true)
	}
	return unavailable("it cannot be reached ("+awsclient.Cause(err)+"): "+checkWay, true)
}

const checkWay = "check the region, the endpoint and the way there"

const missingHere = "there is no such secret, or not in that version"

// refusal finds the decision that follows from a code of AWS's. Codes are
// those of "Common Errors" and of the operations in the API references.
func refusal(q question, refused smithy.APIError, status int) *failure {
	f := &failure{question: q, kind: providers.ErrUnavailable}
	_, throttled := retry.DefaultThrottleErrorCodes[refused.ErrorCode()]
	switch code := refused.ErrorCode(); {
	case throttled:
		f.reason = "AWS limits requests (" + code + ")"
	case code == "ResourceNotFoundException" || code == "ParameterNotFound":
		f.kind, f.reason = providers.ErrNotFound, missingHere
	case code == "ParameterVersionNotFound":
		f.kind, f.reason = providers.ErrNotFound, "there is no such version"
	case code == "InvalidRequestException" && strings.Contains(refused.ErrorMessage(), "delet"):
		f.kind, f.reason = providers.ErrNotFound, "it is scheduled for deletion: cancel that with aws secretsmanager restore-secret"
	case code == "AccessDeniedException" || code == "AccessDenied":
		f.kind, f.reason = providers.ErrDenied, denied(q, refused.ErrorMessage())
	case code == "DecryptionFailure" || code == "InvalidKeyId" || code == "InvalidRequestException":
		f.kind, f.reason = providers.ErrDenied, "AWS cannot decrypt it ("+code+"): check that its KMS key exists, is enabled, and allows kms:Decrypt"
	case code == "ExpiredToken" || code == "ExpiredTokenException" || code == "UnrecognizedClientException" || code == "InvalidClientTokenId":
		f.keys = true
		f.reason = "AWS does not take the host's keys (" + code + "): they are asked for anew; check that the role exists and the region is enabled"
	case strings.Contains(code, "Signature") || code == "RequestExpired" || code == "RequestTimeTooSkewed":
		f.reason = "AWS does not take the signature (" + awsclient.Code(code) + "): check this machine's clock"
	case code == "ValidationException" || code == "InvalidParameterException" || code == "InvalidFilterKey" || code == "SerializationException":
		f.kind, f.reason = providers.ErrInvalid, "AWS cannot make sense of it ("+code+"): check the name and the version"
	default:
		f.elsewhere = true
		f.reason = fmt.Sprintf("AWS answers %s (%d)", awsclient.Code(code), status)
	}
	return f
}

// deniedWhat is what AWS's refusals name beside whom; nothing else of a message is
// passed on.
var deniedWhat = regexp.MustCompile(`perform: ([a-z]{1,20}:[A-Za-z]{1,40}) on resource: (arn:aws[\w:/+=,.@?*-]{1,1000})`)

// denied says what to allow to whom.
func denied(q question, message string) string {
	who, what := cmp.Or(awsclient.Denied(message), "the host's role"), q.action+" on "+q.name
	if found := deniedWhat.FindStringSubmatch(message); found != nil {
		what = found[1] + " on " + found[2]
	}
	lower := strings.ToLower(message)
	switch {
	case strings.Contains(lower, "kms") || strings.Contains(lower, "customer master key"):
		return "AWS denies its decryption: allow kms:Decrypt on its KMS key to the role that reads it, in the role's policy and the key's"
	case q.action == "sts:AssumeRole":
		return "AWS denies " + what + " to " + who + ": allow it there, and let the role's trust policy name that principal (and its external ID)"
	case strings.Contains(lower, "explicit deny"):
		return "a policy denies " + what + " to " + who + " explicitly"
	case strings.Contains(lower, "resource-based policy"):
		return "the secret's own policy does not allow " + what + " to " + who + ": add it there (aws secretsmanager put-resource-policy)"
	}
	return "AWS denies " + what + " to " + who + ": allow it in the policy of the role"
}
