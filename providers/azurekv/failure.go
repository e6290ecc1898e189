package azurekv

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
	"github.com/quaymaster/quaymaster/providers"
)

// explain turns an error of Microsoft's client into one that says what
// happened, what to do, and what the caller decides. Nothing is kept of the
// client's own error, which repeats the whole answer.
func explain(ctx context.Context, n name, err error) error {
	if errors.Is(err, auth.ErrNoIdentity) || errors.Is(err, auth.ErrUnavailable) || errors.Is(err, auth.ErrRefused) {
		return noToken(err)
	}
	if answer, isAnswer := errors.AsType[*azcore.ResponseError](err); isAnswer {
		text, decision := refused(n, keyvault.Read(answer))
		return fmt.Errorf("%w: %s", decision, text)
	}
	if ctx.Err() != nil {
		return fmt.Errorf("%w: %s: %w", providers.ErrUnavailable, gaveUp(n, ctx.Err()), ctx.Err())
	}
	if failed, isNetwork := errors.AsType[*keyvault.Unreachable](err); isNetwork {
		return fmt.Errorf("%w: %s", providers.ErrUnavailable, network(n, failed.Cause))
	}
	if large, isLarge := errors.AsType[*bounded.TooLarge](err); isLarge {
		err = large
	} else {
		err = keyvault.ErrNotKeyVault
	}
	return fmt.Errorf("%w: %s: %w", providers.ErrUnavailable, n.host(), err)
}

func gaveUp(n name, reason error) string {
	if errors.Is(reason, context.Canceled) {
		return n.host() + ": the request was given up"
	}
	return n.host() + " did not answer in time"
}

// network says why there is no answer. A name that is not known is no word of
// Key Vault's: a private DNS zone that is missing for a minute looks the same
// as a vault that never was.
func network(n name, err error) string {
	lookup, isLookup := errors.AsType[*net.DNSError](err)
	certificate, isCertificate := errors.AsType[*tls.CertificateVerificationError](err)
	switch {
	case isLookup && lookup.IsNotFound:
		return fmt.Sprintf("there is no host %s: correct the vault's name, or make this host's DNS know the vault (a deleted vault has none)", n.host())
	case isLookup:
		return fmt.Sprintf("the DNS does not answer for %s: %s", n.host(), lookup.Err)
	case isCertificate:
		return fmt.Sprintf("%s shows a certificate that is not to be trusted (%v): a proxy may stand between", n.host(), certificate.Err)
	}
	if system, ok := errors.AsType[*net.OpError](err); ok {
		return fmt.Sprintf("%s cannot be reached: %v", n.host(), system.Err)
	}
	return n.host() + " cannot be reached: the connection broke, or what answers there does not speak HTTPS" // in words of its own, perhaps
}

// refused is what an answer means.
func refused(n name, s keyvault.Answer) (text string, decision error) {
	switch {
	case s.Status == http.StatusTooManyRequests:
		text = n.host() + " limits requests (429)"
		if s.RetryAfter != "" {
			text += ", and asks to wait " + s.RetryAfter + " s"
		}
		return text, providers.ErrUnavailable
	case s.Status >= http.StatusInternalServerError:
		return fmt.Sprintf("%s failed (%d)", n.host(), s.Status), providers.ErrUnavailable
	case s.Code == "":
		return fmt.Sprintf("%s: %v (%d)", n.host(), keyvault.ErrNotKeyVault, s.Status), providers.ErrUnavailable
	case s.Status == http.StatusUnauthorized:
		return unauthorized(n, s), providers.ErrDenied
	case s.Status == http.StatusForbidden:
		return forbidden(n, s), providers.ErrDenied
	case s.Status == http.StatusNotFound:
		return missing(n), providers.ErrNotFound
	case s.Status == http.StatusBadRequest:
		return fmt.Sprintf("%s does not accept the request (400, %s)", n.host(), s.Code), providers.ErrInvalid
	}
	return fmt.Sprintf("%s answers %d (%s)", n.host(), s.Status, s.Code), providers.ErrUnavailable
}

func missing(n name) string {
	text := fmt.Sprintf("%s has no secret %s", n.host(), n.secret)
	if n.version != "" {
		text = fmt.Sprintf("%s has no version %s of secret %s (az keyvault secret list-versions)", n.host(), n.version, n.secret)
	}
	return text + ": if it was deleted, it may come back (az keyvault secret recover)"
}

func unauthorized(n name, s keyvault.Answer) string {
	if s.Token == keyvault.ForeignIssuer {
		return fmt.Sprintf("%s belongs to another Entra tenant than this host's managed identity (401, %s): an identity reads vaults of its own tenant only", n.host(), s.Token)
	}
	return fmt.Sprintf("%s does not accept the token of this host's managed identity (401, %s)", n.host(), cmp.Or(s.Token, s.Code))
}

// forbidden tells apart what has to be granted where.
func forbidden(n name, s keyvault.Answer) string {
	who := s.Who()
	switch s.Inner {
	case "SecretDisabled":
		return fmt.Sprintf("secret %s in %s is disabled: enable it (az keyvault secret set-attributes --enabled true), or store a new version", n.secret, n.host())
	case "ForbiddenByRbac":
		return fmt.Sprintf("no role assignment lets %s read it: give it the role Key Vault Secrets User on vault %s or on the secret "+
			"(az role assignment create), which takes some minutes to count", who, n.vault)
	case "ForbiddenByPolicy", "AccessDenied":
		return fmt.Sprintf("no access policy of vault %s lets %s read secrets: add one "+
			"(az keyvault set-policy --secret-permissions get)", n.vault, who)
	case "ForbiddenByFirewall":
		return fmt.Sprintf("the firewall of vault %s does not let %s in: allow its network (az keyvault network-rule add), "+
			"or give the vault a private endpoint", n.vault, addressOf(s))
	case "ForbiddenByConnection":
		return fmt.Sprintf("vault %s has no public access, and this host did not come by a private endpoint: give the vault one in this "+
			"network, with its private DNS zone", n.vault)
	}
	return fmt.Sprintf("%s refuses it to %s (403, %s)", n.host(), who, cmp.Or(s.Inner, s.Code))
}

func addressOf(s keyvault.Answer) string {
	if s.Address == "" {
		return "this host's address"
	}
	return "this host's address " + s.Address
}
