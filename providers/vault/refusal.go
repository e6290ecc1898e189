package vault

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/quaymaster/quaymaster/auth/vaultclient"
	"github.com/quaymaster/quaymaster/providers"
)

// refused says what became of a request: what its caller decides, what Vault
// said, and what to do.
func refused(r request, failure *vaultclient.Failure) error {
	kind, remedy := decision(failure), ""
	switch {
	case failure.Kind == vaultclient.Denied:
		remedy = permission(r, failure)
	case failure.Kind == vaultclient.Invalid || failure.Kind == vaultclient.Failed:
		for _, c := range complaints {
			if c.says.MatchString(failure.Error()) {
				kind, remedy = c.means, c.remedy
				break
			}
		}
	}
	if remedy != "" {
		return fmt.Errorf("%w: %s %s: %w: %s", kind, r.verb, r.path, failure, remedy)
	}
	return fmt.Errorf("%w: %s %s: %w", kind, r.verb, r.path, failure)
}

// decision maps what Vault's status says to what a caller decides.
func decision(failure *vaultclient.Failure) error {
	switch failure.Kind {
	case vaultclient.Invalid:
		return providers.ErrInvalid
	case vaultclient.Denied:
		return providers.ErrDenied
	case vaultclient.NotFound:
		return providers.ErrNotFound
	default:
		return providers.ErrUnavailable
	}
}

// permission says which policy would have allowed the request.
func permission(r request, failure *vaultclient.Failure) string {
	switch below, isLookup := strings.CutPrefix(r.path, lookup); {
	case failure.InvalidToken():
		return ""
	case isLookup:
		return fmt.Sprintf("nothing is mounted there, or no policy of the token allows anything there; "+
			"for most engines it needs: path %q { capabilities = [\"read\"] }", below)
	}
	return fmt.Sprintf("a policy of the token must say: path %q { capabilities = [%q] }", r.path, r.capability)
}

// complaint is something that Vault's engines say with a status (400, 500)
// that does not tell what it means. The texts are those of Vault 1.21 and its
// plugins; what none of them fits keeps the meaning of its status.
type complaint struct {
	says   *regexp.Regexp
	means  error
	remedy string
}

var complaints = []complaint{
	{regexp.MustCompile(`(?i)unknown role|(role|role ?set|account) ["'].*["'] (not found|does not exists?)`), providers.ErrNotFound,
		"correct the last part of the ref's path, or make that role in Vault"},
	{regexp.MustCompile(`unknown key:|encryption key not found`), providers.ErrNotFound,
		"correct the last part of the ref's path, or make that key in Vault"},
	{regexp.MustCompile(`lease not found|lease expired|no valid associated token`), providers.ErrNotFound,
		"it has ended or was revoked: what it stood for is to be had anew"},
	{regexp.MustCompile(`failed to (renew|revoke) entry`), providers.ErrUnavailable,
		"what stands behind the engine does not answer Vault: see whether it is up"},
	{regexp.MustCompile(`is not an allowed role`), providers.ErrDenied,
		"add the role to allowed_roles of its database's configuration in Vault"},
	{regexp.MustCompile(`not allowed (for OID .* )?(by|in) this role|not valid for this role|not a valid value for valid_principals`), providers.ErrDenied,
		"ask for another name, or let Vault's role allow this one (for certificates: allowed_domains, allow_subdomains, allow_ip_sans, allowed_uri_sans)"},
	{regexp.MustCompile(`beyond the expiration of the CA`), providers.ErrDenied,
		"ask for a shorter ttl, or renew the authority in Vault"},
	{regexp.MustCompile(`role requires (keys of type|a minimum of)`), providers.ErrInvalid,
		"set key_type and key_bits in the ref to what the role requires"},
	{regexp.MustCompile(`\(405\).*unsupported operation`), providers.ErrInvalid,
		"the path is used the other way: with ?method=write in the ref, and in the grant, it is written to, without it is read"},
	{regexp.MustCompile(`\(500\)`), providers.ErrUnavailable,
		"see Vault's log, and whether what stands behind that engine (a database, a cloud) is up"},
}
