package azuresim

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/quaymaster/quaymaster/internal/cloudsim"
)

// storedKey is one version of an RSA key.
type storedKey struct {
	version  string
	private  *rsa.PrivateKey
	disabled bool
}

// AddKey creates a key of RSA, or a new version of one, which becomes the
// current one. It returns the key's identifier without a version.
func (v *Vault) AddKey(name string) (id string, err error) {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return "", err
	}
	added := &storedKey{version: v.tenant.cloud.env.Text(cloudsim.Hex, 32), private: private}
	v.tenant.cloud.mu.Lock()
	defer v.tenant.cloud.mu.Unlock()
	key := strings.ToLower(name)
	v.keys[key] = append(v.keys[key], added)
	return "https://" + v.Host() + "/keys/" + name, nil
}

// DisableKey disables all versions of a key, or enables them again.
func (v *Vault) DisableKey(name string, disabled bool) {
	v.tenant.cloud.mu.Lock()
	defer v.tenant.cloud.mu.Unlock()
	for _, key := range v.keys[strings.ToLower(name)] {
		key.disabled = disabled
	}
}

// GrantKeys lets a principal wrap and unwrap, or does so no more.
func (v *Vault) GrantKeys(principalID string, granted bool) {
	v.tenant.cloud.mu.Lock()
	defer v.tenant.cloud.mu.Unlock()
	v.users[principalID] = granted
}

// useKey answers POST /keys/NAME[/VERSION]/wrapkey and …/unwrapkey, with
// RSA-OAEP-256 only ("Wrap Key" and "Unwrap Key" in Key Vault's REST API).
func (v *Vault) useKey(r *http.Request) (any, *vaultRefusal) {
	caller, refusal := v.caller(r)
	if refusal != nil {
		return nil, refusal
	}
	parts := strings.Split(strings.TrimPrefix(r.URL.Path, "/keys/"), "/")
	name, operation, version := parts[0], parts[len(parts)-1], ""
	if len(parts) == 3 {
		version = parts[1]
	}
	var request struct{ Alg, Value string }
	err := json.NewDecoder(http.MaxBytesReader(nil, r.Body, 64<<10)).Decode(&request)
	value, decodeErr := base64.RawURLEncoding.DecodeString(request.Value)
	bad := func(message string) *vaultRefusal {
		return &vaultRefusal{http.StatusBadRequest, "BadParameter", message, ""}
	}
	switch {
	case r.Method != http.MethodPost || len(parts) > 3 || (operation != "wrapkey" && operation != "unwrapkey"):
		return nil, &vaultRefusal{http.StatusNotFound, "NotFound", "This stand-in reads secrets, and wraps with keys.", ""}
	case r.URL.Query().Get("api-version") == "":
		return nil, bad("api-version must be specified")
	case err != nil || decodeErr != nil || request.Alg != "RSA-OAEP-256":
		return nil, bad("Property has invalid value")
	case version != "" && !secretVersion.MatchString(version):
		return nil, bad("The request URI contains an invalid version: " + version)
	}
	key, refusal := v.findKey(caller, name, version, operation)
	if refusal != nil {
		return nil, refusal
	}
	return v.apply(key, name, operation, value)
}

func (v *Vault) findKey(caller claims, name, version, operation string) (storedKey, *vaultRefusal) {
	v.tenant.cloud.mu.Lock()
	defer v.tenant.cloud.mu.Unlock()
	short := strings.TrimSuffix(operation, "key") // wrap, unwrap
	if v.network != Open || !v.users[caller.PrincipalID] {
		return storedKey{}, v.forbidden(caller, attempt{"keys " + short + "Key", "keys/" + short, "keys/" + name})
	}
	versions := v.keys[strings.ToLower(name)]
	for i := len(versions) - 1; i >= 0; i-- {
		if found := versions[i]; version == "" || found.version == version {
			if found.disabled {
				return storedKey{}, &vaultRefusal{http.StatusForbidden, "Forbidden", "Operation " + short + "Key is not allowed on a disabled key.", "KeyDisabled"}
			}
			return *found, nil
		}
	}
	return storedKey{}, &vaultRefusal{http.StatusNotFound, "KeyNotFound", "A key with (name/id) " + strings.TrimSuffix(name+"/"+version, "/") +
		" was not found in this key vault.", ""}
}

func (v *Vault) apply(key storedKey, name, operation string, value []byte) (any, *vaultRefusal) {
	var result []byte
	var err error
	if operation == "wrapkey" {
		result, err = rsa.EncryptOAEP(sha256.New(), rand.Reader, &key.private.PublicKey, value, nil)
	} else {
		result, err = rsa.DecryptOAEP(sha256.New(), nil, key.private, value, nil)
	}
	if err != nil {
		return nil, &vaultRefusal{http.StatusBadRequest, "BadParameter", "The parameter is incorrect.", ""}
	}
	return map[string]string{"kid": "https://" + v.Host() + "/keys/" + name + "/" + key.version, "value": base64.RawURLEncoding.EncodeToString(result)}, nil
}
