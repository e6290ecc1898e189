package azure

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"regexp"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"

	"github.com/quaymaster/quaymaster/auth"
)

// The operations, as Key Vault calls the permissions for them.
const (
	wrapping   = "wrapKey"
	unwrapping = "unwrapKey"
)

// errNotKeyVault: something answers at the vault's address that is not Key Vault.
var errNotKeyVault = errors.New("what answers there does not answer as Key Vault does: it may be a proxy, or a private endpoint of something else")

// explain finds the decision that follows from an error of Microsoft's client,
// of which nothing is kept: it repeats the whole answer.
func (s *Sealer) explain(ctx context.Context, operation string, err error) error {
	refused, isAnswer := errors.AsType[*azcore.ResponseError](err)
	failed, isNetwork := errors.AsType[*unreachable](err)
	unavailable := func(reason string) error { return s.failed(operation, reason, auth.ErrSealUnavailable) }
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("%w: %w", unavailable("given up"), ctx.Err())
	case errors.Is(err, auth.ErrNoIdentity) || errors.Is(err, auth.ErrRefused):
		return s.failed(operation, "no token: "+err.Error(), auth.ErrSealRefused)
	case errors.Is(err, auth.ErrUnavailable):
		return unavailable("no token: " + err.Error())
	case isAnswer:
		return s.refused(ctx, operation, readAnswer(refused))
	case errors.Is(err, context.DeadlineExceeded):
		return unavailable(fmt.Sprintf("no answer within %s: check the way there", sealTimeout))
	case isNetwork:
		return unavailable(notReached(failed.cause))
	}
	return unavailable(errNotKeyVault.Error())
}

// notReached says why there is no answer, in words that hold no more than a name
// or an address.
func notReached(err error) string {
	if lookup, is := errors.AsType[*net.DNSError](err); is {
		return "the vault is not found: " + lookup.Err + ": correct its name, or make this host's DNS know it"
	}
	if certificate, is := errors.AsType[*tls.CertificateVerificationError](err); is {
		return fmt.Sprintf("the certificate is not to be trusted (%v): a proxy may stand between", certificate.Err)
	}
	if system, is := errors.AsType[*net.OpError](err); is {
		return fmt.Sprintf("it cannot be reached: %v", system.Err)
	}
	return "it cannot be reached: the connection broke, or what answers there does not speak HTTPS"
}

// vaultAnswer is what an answer that is no success says, as far as it has the
// form that it should have.
type vaultAnswer struct {
	status             int
	code, inner, token string // "Forbidden", "ForbiddenByRbac", "AKV10032"
	caller             string // the object ID of the identity that asked
}

// What is kept of an answer. docs: "Azure Key Vault REST API error codes".
var (
	answerCode = regexp.MustCompile(`^[A-Za-z0-9]{1,64}$`)
	tokenCode  = regexp.MustCompile(`^AKV[0-9]{1,8}\b`)
	callerID   = regexp.MustCompile(`\boid=([0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12})`)
)

func readAnswer(answer *azcore.ResponseError) vaultAnswer {
	a := vaultAnswer{status: answer.StatusCode}
	if answer.RawResponse == nil {
		return a
	}
	content, err := runtime.Payload(answer.RawResponse) // which the client has read already, and keeps
	var document struct {
		Error struct {
			Code, Message string
			InnerError    struct{ Code string }
		}
	}
	if err != nil || json.Unmarshal(content, &document) != nil {
		return a
	}
	a.code, a.inner = answerCode.FindString(document.Error.Code), answerCode.FindString(document.Error.InnerError.Code)
	a.token = tokenCode.FindString(document.Error.Message)
	if found := callerID.FindStringSubmatch(document.Error.Message); found != nil {
		a.caller = found[1]
	}
	return a
}

// refused is what an answer means.
func (s *Sealer) refused(ctx context.Context, operation string, a vaultAnswer) error {
	reason, decision := fmt.Sprintf("it answers %d (%s)", a.status, cmp.Or(a.inner, a.code)), auth.ErrSealUnavailable
	switch {
	case a.status == http.StatusTooManyRequests:
		reason = "it limits requests (429)"
	case a.status >= http.StatusInternalServerError:
		reason = fmt.Sprintf("it failed (%d)", a.status)
	case a.code == "":
		reason = fmt.Sprintf("%v (%d)", errNotKeyVault, a.status)
	case a.status == http.StatusUnauthorized && a.token == "AKV10032":
		reason, decision = "it belongs to another Entra tenant than this host's managed identity (401, "+a.token+")", auth.ErrSealRefused
	case a.status == http.StatusUnauthorized:
		s.dropToken(ctx)
		reason = "it does not accept the token of this host's managed identity (401, " + cmp.Or(a.token, a.code) + "): the next try has a new one"
	case a.status == http.StatusForbidden:
		reason, decision = s.forbidden(operation, a), auth.ErrSealRefused
	case a.status == http.StatusNotFound && operation == unwrapping:
		reason, decision = "it has no such version of the key: it was deleted (az keyvault key recover), or sealed by another key", auth.ErrNotSealedHere
	case a.status == http.StatusNotFound:
		reason, decision = "there is no such key: make it (az keyvault key create --kty RSA), or recover it (az keyvault key recover)", auth.ErrSealRefused
	case a.status == http.StatusBadRequest && operation == unwrapping:
		reason, decision = "it does not open ("+a.code+"): it was altered, or sealed by another key", auth.ErrNotSealedHere
	case a.status == http.StatusBadRequest:
		reason, decision = "it does not seal by that key ("+a.code+"): it must be of RSA with 2048 bits or more, and for wrapKey and unwrapKey", auth.ErrSealRefused
	}
	return s.failed(operation, reason, decision)
}

// dropToken has the next try use another token. Whether there is one, the next
// try will say.
func (s *Sealer) dropToken(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, attestTimeout)
	defer cancel()
	_ = s.token(ctx, "{}")
}

// forbidden tells apart what has to be changed where.
func (s *Sealer) forbidden(operation string, a vaultAnswer) string {
	who := "this host's managed identity"
	if a.caller != "" {
		who += " (object ID " + a.caller + ")"
	}
	switch a.inner {
	case "KeyDisabled":
		return "the key is disabled: enable it (az keyvault key set-attributes --enabled true)"
	case "ForbiddenByRbac":
		return "no role assignment lets " + who + " do it: give it the role Key Vault Crypto Service Encryption User on the key " +
			"(az role assignment create), which takes some minutes to count"
	case "ForbiddenByPolicy", "AccessDenied":
		return "no access policy of the vault lets " + who + " do it: add one (az keyvault set-policy --key-permissions wrapKey unwrapKey)"
	case "ForbiddenByFirewall":
		return "the vault's firewall does not let this host in: allow its network (az keyvault network-rule add), or give the vault a private endpoint"
	case "ForbiddenByConnection":
		return "the vault has no public access, and this host did not come by a private endpoint: give the vault one in this network, with its private DNS zone"
	}
	return fmt.Sprintf("it refuses %s to %s (403, %s)", operation, who, cmp.Or(a.inner, a.code))
}
