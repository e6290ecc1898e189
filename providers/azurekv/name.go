package azurekv

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/quaymaster/quaymaster/broker/secret"
)

// publicSuffix is where the vaults of Azure's public cloud are.
const publicSuffix = "vault.azure.net"

// suffixes are where the vaults of all clouds are. A vault that is named by a
// host elsewhere is refused, so that no ref can make this host connect to
// whatever it names.
var suffixes = []string{publicSuffix, "vault.usgovcloudapi.net", "vault.azure.cn"}

// What names are made of ("About keys, secrets, and certificates: vault-name
// and object-name"). Microsoft's client would put anything into its URL.
var (
	vaultName  = regexp.MustCompile(`^[a-zA-Z]([0-9a-zA-Z-]{1,22})[0-9a-zA-Z]$`)
	secretName = regexp.MustCompile(`^[0-9a-zA-Z-]{1,127}$`)
	version    = regexp.MustCompile(`^[0-9a-fA-F]{32}$`)
	dnsSuffix  = regexp.MustCompile(`^[0-9a-z-]+(\.[0-9a-z-]+)+$`)
)

// name is what a ref names.
type name struct {
	vault   string
	suffix  string // empty: that of the host's cloud
	secret  string
	version string // empty: the current one
}

func (n name) host() string { return n.vault + "." + n.suffix }

// parse reads a ref. Its errors say how to write it.
func (p *Provider) parse(ref secret.Ref) (name, error) {
	parts := strings.Split(ref.Path, "/")
	switch {
	case len(ref.Params) > 0:
		return name{}, errors.New("a secret in Key Vault takes no parameters")
	case len(parts) == 3 && version.MatchString(parts[2]):
		return name{}, errors.New("a version follows an @, as in " + ref.Provider + ":vault-name/secret-name@version")
	case len(parts) != 2:
		return name{}, errors.New("write the name of a vault, a slash and the name of a secret, as in " + ref.Provider + ":shop-kv/db-password")
	case !secretName.MatchString(parts[1]):
		return name{}, fmt.Errorf("the secret name %q: Key Vault has names of 1 to 127 letters (a-z), digits and dashes", parts[1])
	case ref.Version != "" && !version.MatchString(ref.Version):
		return name{}, fmt.Errorf("the version %q: Key Vault has versions of 32 hex digits (az keyvault secret list-versions)", ref.Version)
	}
	n := name{secret: parts[1], version: strings.ToLower(ref.Version)}
	vault, suffix, isHost := strings.Cut(strings.ToLower(parts[0]), ".")
	if isHost {
		if err := p.allowed(suffix); err != nil {
			return name{}, err
		}
		n.suffix = suffix
	}
	if n.vault = vault; !vaultName.MatchString(vault) || strings.Contains(vault, "--") {
		return name{}, fmt.Errorf("the vault name %q: Key Vault has names of 3 to 24 letters (a-z), digits and single dashes, beginning with a letter", vault)
	}
	return n, nil
}

// allowed refuses hosts that are no vault's.
func (p *Provider) allowed(suffix string) error {
	if strings.HasPrefix(suffix, "managedhsm.") {
		return errors.New("a managed HSM keeps keys and no secrets: name a key vault")
	}
	if !slices.Contains(suffixes, suffix) && suffix != p.ownSuffix {
		return fmt.Errorf("%q is no cloud's DNS suffix of key vaults (%s): name the vault only, or set the suffix in the provider's configuration",
			suffix, strings.Join(suffixes, ", "))
	}
	return nil
}
