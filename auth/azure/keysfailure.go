package azure

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/auth/bounded"
	"github.com/quaymaster/quaymaster/auth/keyvault"
)

// The operations, as Key Vault calls the permissions for them.
const (
	wrapping   = "wrapKey"
	unwrapping = "unwrapKey"
)

// explain finds the decision that follows from an error of Microsoft's client,
// of which nothing is kept: it repeats the whole answer.
func (s *Sealer) explain(ctx context.Context, operation string, err error) error {
	refused, isAnswer := errors.AsType[*azcore.ResponseError](err)
	failed, isNetwork := errors.AsType[*keyvault.Unreachable](err)
	large, isLarge := errors.AsType[*bounded.TooLarge](err)
	unavailable := func(reason string) error { return s.failed(operation, reason, auth.ErrSealUnavailable) }
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("%w: %w", unavailable("given up"), ctx.Err())
	case errors.Is(err, auth.ErrNoIdentity) || errors.Is(err, auth.ErrRefused):
		return s.failed(operation, "no token: "+err.Error(), auth.ErrSealRefused)
	case errors.Is(err, auth.ErrUnavailable):
		return unavailable("no token: " + err.Error())
	case isAnswer:
		return s.refused(ctx, operation, keyvault.Read(refused))
	case errors.Is(err, context.DeadlineExceeded):
		return unavailable(fmt.Sprintf("no answer within %s: check the way there", sealTimeout))
	case isLarge:
		return unavailable(large.Error() + ", and so not Key Vault's: a proxy may stand between")
	case isNetwork:
		return unavailable(notReached(failed.Cause))
	}
	return unavailable(keyvault.ErrNotKeyVault.Error())
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

// refused is what an answer means.
func (s *Sealer) refused(ctx context.Context, operation string, a keyvault.Answer) error {
	reason, decision := fmt.Sprintf("it answers %d (%s)", a.Status, cmp.Or(a.Inner, a.Code)), auth.ErrSealUnavailable
	switch {
	case a.Status == http.StatusTooManyRequests:
		reason = "it limits requests (429)"
	case a.Status >= http.StatusInternalServerError:
		reason = fmt.Sprintf("it failed (%d)", a.Status)
	case a.Code == "":
		reason = fmt.Sprintf("%v (%d)", keyvault.ErrNotKeyVault, a.Status)
	case a.Status == http.StatusUnauthorized && a.Token == keyvault.ForeignIssuer:
		reason, decision = "it belongs to another Entra tenant than this host's managed identity (401, "+a.Token+")", auth.ErrSealRefused
	case a.Status == http.StatusUnauthorized:
		s.dropToken(ctx)
		reason = "it does not accept the token of this host's managed identity (401, " + cmp.Or(a.Token, a.Code) + "): the next try has a new one"
	case a.Status == http.StatusForbidden:
		reason, decision = s.forbidden(operation, a), auth.ErrSealRefused
	case a.Status == http.StatusNotFound && operation == unwrapping:
		reason, decision = "it has no such version of the key: it was deleted (az keyvault key recover), or sealed by another key", auth.ErrNotSealedHere
	case a.Status == http.StatusNotFound:
		reason, decision = "there is no such key: make it (az keyvault key create --kty RSA), or recover it (az keyvault key recover)", auth.ErrSealRefused
	case a.Status == http.StatusBadRequest && operation == unwrapping:
		reason, decision = "it does not open ("+a.Code+"): it was altered, or sealed by another key", auth.ErrNotSealedHere
	case a.Status == http.StatusBadRequest:
		reason, decision = "it does not seal by that key ("+a.Code+"): it must be of RSA with 2048 bits or more, and for wrapKey and unwrapKey", auth.ErrSealRefused
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
func (s *Sealer) forbidden(operation string, a keyvault.Answer) string {
	who := a.Who()
	switch a.Inner {
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
	return fmt.Sprintf("it refuses %s to %s (403, %s)", operation, who, cmp.Or(a.Inner, a.Code))
}
