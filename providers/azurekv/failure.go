package azurekv

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"regexp"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/providers"
)

// errNotKeyVault: something answers at the vault's address that is not Key Vault.
var errNotKeyVault = errors.New("what answers there does not answer as Key Vault does: it may be a proxy, or a private endpoint of something else")

// explain turns an error of Microsoft's client into one that says what
// happened, what to do, and what the caller decides. Nothing is kept of the
// client's own error, which repeats the whole answer.
func explain(ctx context.Context, n name, err error) error {
	if errors.Is(err, auth.ErrNoIdentity) || errors.Is(err, auth.ErrUnavailable) || errors.Is(err, auth.ErrRefused) {
		return noToken(err)
	}
	if answer, isAnswer := errors.AsType[*azcore.ResponseError](err); isAnswer {
		text, decision := refused(n, read(answer))
		return fmt.Errorf("%w: %s", decision, text)
	}
	if ctx.Err() != nil {
		return fmt.Errorf("%w: %s: %w", providers.ErrUnavailable, gaveUp(n, ctx.Err()), ctx.Err())
	}
	if failed, isNetwork := errors.AsType[*unreachable](err); isNetwork {
		return fmt.Errorf("%w: %s", providers.ErrUnavailable, network(n, failed.cause))
	}
	if errors.Is(err, errAnswerTooLarge) {
		err = errAnswerTooLarge
	} else {
		err = errNotKeyVault
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

// said is what an answer that is no success says, as far as it is kept: codes
// and identifiers that have the form they should have. The rest of it is
// prose, of Key Vault or of something else.
type said struct {
	status      int
	code, inner string // "Forbidden", "ForbiddenByRbac"
	token       string // what is wrong with the token: "AKV10032"
	caller      string // the object ID of the identity that asked
	address     string // of this host, as the vault sees it
	retryAfter  string // seconds
	isAnswer    bool   // it is of Key Vault's form
}

// What is kept of an answer. docs: "Azure Key Vault REST API error codes".
var (
	codeForm    = regexp.MustCompile(`^[A-Za-z0-9]{1,64}$`)
	tokenCode   = regexp.MustCompile(`^AKV[0-9]{1,8}\b`)
	callerID    = regexp.MustCompile(`\boid=([0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12})`)
	addressForm = regexp.MustCompile(`Client address: ([0-9A-Fa-f.:]+)`)
	secondsForm = regexp.MustCompile(`^[0-9]{1,5}$`)
)

func read(answer *azcore.ResponseError) said {
	s := said{status: answer.StatusCode}
	if answer.RawResponse == nil {
		return s
	}
	s.retryAfter = secondsForm.FindString(answer.RawResponse.Header.Get("Retry-After"))
	content, err := runtime.Payload(answer.RawResponse) // which the client has read already, and keeps
	var document struct {
		Error struct {
			Code, Message string
			InnerError    struct{ Code string }
		}
	}
	if err != nil || json.Unmarshal(content, &document) != nil {
		return s
	}
	s.code, s.inner = codeForm.FindString(document.Error.Code), codeForm.FindString(document.Error.InnerError.Code)
	s.isAnswer = s.code != ""
	s.token = tokenCode.FindString(document.Error.Message)
	if found := callerID.FindStringSubmatch(document.Error.Message); found != nil {
		s.caller = found[1]
	}
	if found := addressForm.FindStringSubmatch(document.Error.Message); found != nil {
		if address, err := netip.ParseAddr(found[1]); err == nil {
			s.address = address.String()
		}
	}
	return s
}

// refused is what an answer means.
func refused(n name, s said) (text string, decision error) {
	switch {
	case s.status == http.StatusTooManyRequests:
		text = n.host() + " limits requests (429)"
		if s.retryAfter != "" {
			text += ", and asks to wait " + s.retryAfter + " s"
		}
		return text, providers.ErrUnavailable
	case s.status >= http.StatusInternalServerError:
		return fmt.Sprintf("%s failed (%d)", n.host(), s.status), providers.ErrUnavailable
	case !s.isAnswer:
		return fmt.Sprintf("%s: %v (%d)", n.host(), errNotKeyVault, s.status), providers.ErrUnavailable
	case s.status == http.StatusUnauthorized:
		return unauthorized(n, s), providers.ErrDenied
	case s.status == http.StatusForbidden:
		return forbidden(n, s), providers.ErrDenied
	case s.status == http.StatusNotFound:
		return missing(n), providers.ErrNotFound
	case s.status == http.StatusBadRequest:
		return fmt.Sprintf("%s does not accept the request (400, %s)", n.host(), s.code), providers.ErrInvalid
	}
	return fmt.Sprintf("%s answers %d (%s)", n.host(), s.status, s.code), providers.ErrUnavailable
}

func missing(n name) string {
	text := fmt.Sprintf("%s has no secret %s", n.host(), n.secret)
	if n.version != "" {
		text = fmt.Sprintf("%s has no version %s of secret %s (az keyvault secret list-versions)", n.host(), n.version, n.secret)
	}
	return text + ": if it was deleted, it may come back (az keyvault secret recover)"
}

// foreignIssuer: the token is of another tenant than the vault trusts.
const foreignIssuer = "AKV10032"

func unauthorized(n name, s said) string {
	if s.token == foreignIssuer {
		return fmt.Sprintf("%s belongs to another Entra tenant than this host's managed identity (401, %s): an identity reads vaults of its own tenant only", n.host(), s.token)
	}
	return fmt.Sprintf("%s does not accept the token of this host's managed identity (401, %s)", n.host(), cmp.Or(s.token, s.code))
}

// forbidden tells apart what has to be granted where.
func forbidden(n name, s said) string {
	who := "this host's managed identity"
	if s.caller != "" {
		who += " (object ID " + s.caller + ")"
	}
	switch s.inner {
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
	return fmt.Sprintf("%s refuses it to %s (403, %s)", n.host(), who, cmp.Or(s.inner, s.code))
}

func addressOf(s said) string {
	if s.address == "" {
		return "this host's address"
	}
	return "this host's address " + s.address
}
