package azuresim

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"
)

// vaultRefusal says no as Key Vault does ("Azure Key Vault REST API error
// codes").
type vaultRefusal struct {
	status               int
	code, message, inner string // inner may be empty
}

// What names and versions of secrets are made of ("Vault-name and object-name").
var (
	secretName    = regexp.MustCompile(`^[0-9a-zA-Z-]{1,127}$`)
	secretVersion = regexp.MustCompile(`^[0-9a-f]{32}$`)
)

// serve answers GET /secrets/NAME[/VERSION], and what useKey answers. Who asks
// without a token is told where to get one and for which audience.
func (v *Vault) serve(w http.ResponseWriter, r *http.Request) {
	content, refusal := v.act(r)
	if refusal != nil {
		if refusal.status == http.StatusUnauthorized {
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer authorization="https://%s/%s", resource="https://%s"`, v.tenant.cloud.place.entra, v.tenant.id, v.suffix))
		}
		refusal.write(w)
		return
	}
	answer(w, http.StatusOK, content)
}

func (v *Vault) act(r *http.Request) (any, *vaultRefusal) {
	if strings.HasPrefix(r.URL.Path, "/keys/") {
		return v.useKey(r)
	}
	found, refusal := v.read(r)
	if refusal != nil {
		return nil, refusal
	}
	return v.bundle(found), nil
}

func (v *Vault) read(r *http.Request) (storedSecret, *vaultRefusal) {
	caller, refusal := v.caller(r)
	if refusal != nil {
		return storedSecret{}, refusal
	}
	rest, isSecret := strings.CutPrefix(r.URL.Path, "/secrets/")
	name, version, _ := strings.Cut(rest, "/")
	switch {
	case !isSecret || r.Method != http.MethodGet:
		return storedSecret{}, &vaultRefusal{http.StatusNotFound, "NotFound", "This stand-in reads secrets, and wraps with keys.", ""}
	case r.URL.Query().Get("api-version") == "":
		return storedSecret{}, &vaultRefusal{http.StatusBadRequest, "BadParameter", "api-version must be specified", ""}
	case !secretName.MatchString(name):
		return storedSecret{}, &vaultRefusal{http.StatusBadRequest, "BadParameter", "The request URI contains an invalid name: " + name, ""}
	case version != "" && !secretVersion.MatchString(version):
		return storedSecret{}, &vaultRefusal{http.StatusBadRequest, "BadParameter", "The request URI contains an invalid version: " + version, ""}
	}
	return v.find(caller, name, version)
}

// caller is whose token a request carries.
func (v *Vault) caller(r *http.Request) (claims, *vaultRefusal) {
	unauthorized := func(message string) *vaultRefusal {
		return &vaultRefusal{http.StatusUnauthorized, "Unauthorized", message, ""}
	}
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		return claims{}, unauthorized("AKV10000: Request is missing a Bearer or PoP token.")
	}
	caller, err := v.tenant.cloud.verify(token, "https://"+v.suffix)
	if err != nil {
		return claims{}, unauthorized("AKV10022: Invalid token or audience. Expected https://" + v.suffix + ".")
	}
	if caller.Issuer != v.tenant.issuer() {
		return claims{}, unauthorized("AKV10032: Invalid issuer. Expected one of " + v.tenant.issuer() + ", found " + caller.Issuer + ".")
	}
	return caller, nil
}

// find is the version of a secret that was asked for. Key Vault hands out what
// has expired or is not valid yet ("About Azure Key Vault secrets: date-time
// controlled operations").
func (v *Vault) find(caller claims, name, version string) (storedSecret, *vaultRefusal) {
	v.tenant.cloud.mu.Lock()
	defer v.tenant.cloud.mu.Unlock()
	key := strings.ToLower(name)
	if granted := v.grants[caller.PrincipalID]; v.network != Open || (!granted[""] && !granted[key]) {
		return storedSecret{}, v.forbidden(caller, attempt{"secrets get", "secrets/getSecret", "secrets/" + name})
	}
	versions := v.secrets[key]
	for i := len(versions) - 1; i >= 0; i-- {
		if found := versions[i]; version == "" || found.version == version {
			if found.Disabled {
				return storedSecret{}, &vaultRefusal{http.StatusForbidden, "Forbidden", "Operation get is not allowed on a disabled secret.", "SecretDisabled"}
			}
			return found, nil
		}
	}
	return storedSecret{}, &vaultRefusal{http.StatusNotFound, "SecretNotFound", fmt.Sprintf("A secret with (name/id) %s was not found in this key vault. "+
		"If you recently deleted this secret you may be able to recover it using the correct recovery command.", strings.TrimSuffix(name+"/"+version, "/")), ""}
}

// attempt is what a caller may not do, as the refusals name it.
type attempt struct{ permission, action, resource string }

// forbidden is the refusal of a caller whom the vault knows.
func (v *Vault) forbidden(caller claims, to attempt) *vaultRefusal {
	who := fmt.Sprintf("appid=%s;oid=%s;iss=%s", caller.ClientID, caller.PrincipalID, caller.Issuer)
	where := fmt.Sprintf("Vault: %s;location=westeurope", v.name)
	refusal := &vaultRefusal{status: http.StatusForbidden, code: "Forbidden"}
	switch {
	case v.network == Firewalled:
		refusal.inner = "ForbiddenByFirewall"
		refusal.message = fmt.Sprintf("Client address is not authorized and caller is not a trusted service.\r\nClient address: 198.51.100.7\r\nCaller: %s\r\n%s", who, where)
	case v.network == Private:
		refusal.inner = "ForbiddenByConnection"
		refusal.message = fmt.Sprintf("Public network access is disabled and request is not from a trusted service nor via an approved private link.\r\nCaller: %s\r\n%s", who, where)
	case v.access == ByPolicy:
		refusal.inner = "ForbiddenByPolicy"
		refusal.message = fmt.Sprintf("The user, group or application '%s' does not have %s permission on key vault '%s;location=westeurope'.", who, to.permission, v.name)
	default:
		refusal.inner = "ForbiddenByRbac"
		refusal.message = fmt.Sprintf("Caller is not authorized to perform action on resource.\r\nIf role assignments, deny assignments or role definitions were changed recently, "+
			"please observe propagation time.\r\nCaller: %s\r\nAction: 'Microsoft.KeyVault/vaults/%s/action'\r\nResource: '%s'\r\n"+
			"Assignment: (not found)\r\nDenyAssignmentId: null\r\nDecisionReason: null \r\n%s\r\n", who, to.action, v.name+"/"+to.resource, where)
	}
	return refusal
}

func (r *vaultRefusal) write(w http.ResponseWriter) {
	content := map[string]any{"code": r.code, "message": r.message}
	if r.inner != "" {
		content["innererror"] = map[string]string{"code": r.inner}
	}
	answer(w, r.status, map[string]any{"error": content})
}

// bundle is a secret as Key Vault writes it ("Get Secret: SecretBundle").
func (v *Vault) bundle(s storedSecret) any {
	attributes := map[string]any{"enabled": true, "created": s.created.Unix(), "updated": s.created.Unix(),
		"recoveryLevel": "Recoverable+Purgeable", "recoverableDays": 90}
	for key, at := range map[string]time.Time{"nbf": s.NotBefore, "exp": s.Expires} {
		if !at.IsZero() {
			attributes[key] = at.Unix()
		}
	}
	bundle := map[string]any{"value": s.Value, "id": "https://" + v.Host() + "/secrets/" + s.name + "/" + s.version, "attributes": attributes}
	if s.ContentType != "" {
		bundle["contentType"] = s.ContentType
	}
	if s.Managed {
		bundle["managed"], bundle["kid"] = true, "https://"+v.Host()+"/keys/"+s.name+"/"+s.version
	}
	return bundle
}
