package config

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/quaymaster/quaymaster/auth/endpoint"
	"github.com/quaymaster/quaymaster/broker/secret"
)

// clouds are the types of provider that are a cloud's own store, and the names
// of those that need not be configured.
var clouds = []string{TypeAWS, TypeAzure, TypeGCP}

// typeKeys are the keys that a provider of each type may have, besides type,
// rate and check_versions.
var typeKeys = map[string][]string{
	TypeVault: {"address", "role", "mount", "server_id", "ca_file", "tls_server_name", "client_cert_file", "client_key_file", "login_spread", "namespace",
		"sts_region", "sts_endpoint", "revoke_on_shutdown"},
	TypeAWS:   {"region", "assume_role", "external_id", "replicas"},
	TypeAzure: {"client_id", "dns_suffix"},
	TypeGCP:   {"impersonate", "endpoint"},
}

// addClouds configures the clouds' own stores that grants name, where the files
// do not.
func (l *loader) addClouds() {
	for _, grant := range l.config.Grants {
		for _, pattern := range grant.Secrets {
			name := pattern.Provider()
			if _, configured := l.config.Providers[name]; configured || !slices.Contains(clouds, name) || l.refusedWithin("providers."+name) {
				continue
			}
			if l.config.Providers == nil {
				l.config.Providers = map[string]Provider{}
			}
			l.config.Providers[name] = Provider{Type: name}
		}
	}
}

var (
	hostName = regexp.MustCompile(`^[a-z0-9-]+(\.[a-z0-9-]+)+$`)
	roleARN  = regexp.MustCompile(`^arn:aws[a-z-]*:iam::[0-9]{12}:role/.+$`)
)

// region is the form of an AWS region; its name becomes part of a host name.
var region = regexp.MustCompile(`^[a-z]+(-[a-z0-9]+)+$`)

func (l *loader) checkVault(key string, v Vault) {
	if l.refused[key] {
		return
	}
	if l.required(key+".address", v.Address, "as in https://vault.internal:8200") {
		if err := checkVaultAddress(v.Address); err != nil {
			l.fault(key+".address", "%v", err)
		}
	}
	if l.config.Identity != IdentityTokenFile {
		l.required(key+".role", v.Role, "the role that this host logs in as")
	}
	if strings.HasPrefix(v.Mount, "auth/") || strings.HasPrefix(v.Mount, "/") || strings.HasSuffix(v.Mount, "/") {
		l.fault(key+".mount", "%q: write it without auth/ before it and without a slash around it, as in %q", v.Mount, "aws")
	}
	if strings.Contains(v.Role, "/") {
		l.fault(key+".role", "%q: a role is named without its path", v.Role)
	}
	if v.STSRegion != "" && !region.MatchString(v.STSRegion) {
		l.fault(key+".sts_region", "%q is not an AWS region such as eu-west-1", v.STSRegion)
	}
	if (v.ClientCertFile == "") != (v.ClientKeyFile == "") {
		l.fault(key, "client_cert_file and client_key_file belong together: give both or neither")
	}
	files := []struct{ key, name string }{{"ca_file", v.CAFile}, {"client_cert_file", v.ClientCertFile}, {"client_key_file", v.ClientKeyFile}}
	for _, file := range files {
		if file.name == "" {
			continue
		}
		if err := checkFile(file.name); err != nil {
			l.fault(key+"."+file.key, "%v", err)
		}
	}
	if v.STSEndpoint != "" {
		if err := checkAddress(v.STSEndpoint); err != nil {
			l.fault(key+".sts_endpoint", "%v, as in Vault's own sts_endpoint", err)
		}
	}
	if v.LoginSpread < 0 || v.LoginSpread > time.Hour {
		l.fault(key+".login_spread", "%s is not between 0s and 1h", v.LoginSpread)
	}
}

// checkVaultAddress accepts the URL of a server, and the name of DNS SRV records
// that say where servers are.
func checkVaultAddress(address string) error {
	record, isSRV := strings.CutPrefix(address, "srv://")
	if !isSRV {
		return checkAddress(address)
	}
	if u, err := url.Parse(address); err != nil || u.Hostname() != record || u.User != nil {
		return errors.New("is not the name of an SRV record: write it as srv://_vault._tcp.example.internal")
	}
	return nil
}

// checkAddress accepts the URL of a server that tokens may be sent to.
func checkAddress(address string) error {
	_, err := endpoint.Parse(address)
	return err
}

func (l *loader) checkProvider(key, name string, p Provider) {
	types := append([]string{TypeVault}, clouds...)
	switch {
	case !l.required(key+".type", p.Type, "one of "+strings.Join(types, ", ")):
	case !slices.Contains(types, p.Type):
		l.fault(key+".type", "%q is not one of %s", p.Type, strings.Join(types, ", "))
	case slices.Contains(clouds, name) && p.Type != name:
		l.fault(key+".type", "%q: %q is the name of a built-in provider, which is of type %s: choose another name", p.Type, name, name)
	default:
		l.checkTypeKeys(key, p.Type)
		l.checkByType(key, p)
	}
	l.checkRate(key+".rate", p.Rate)
	_, err := secret.ParsePattern(name + ":**")
	switch {
	case name == BuiltinVault:
		l.fault(key, "%q is the provider that the vault block configures: choose another name", name)
	case err != nil:
		l.fault(key, "%q is not a name for a provider: use lower-case letters, digits and dashes, starting with a letter", name)
	}
}

func (l *loader) checkRate(key string, rate int) {
	if _, given := l.places[key]; given && rate < 1 && !l.refused[key] {
		l.fault(key, "%d: write how many requests a second the provider may be asked, at least 1", rate)
	}
}

// checkTypeKeys refuses the keys of other types.
func (l *loader) checkTypeKeys(key, typ string) {
	for _, other := range slices.Sorted(maps.Keys(typeKeys)) {
		for _, name := range typeKeys[other] {
			if _, given := l.places[key+"."+name]; given && !slices.Contains(typeKeys[typ], name) {
				l.fault(key+"."+name, "belongs to a provider of type %s, and this one is of type %s, whose keys are %s",
					other, typ, strings.Join(append(slices.Clone(typeKeys[typ]), "rate", "check_versions"), ", "))
			}
		}
	}
}

func (l *loader) checkByType(key string, p Provider) {
	switch p.Type {
	case TypeVault:
		l.checkVault(key, p.Vault)
	case TypeAWS:
		l.checkAWS(key, p)
	case TypeAzure:
		if p.DNSSuffix != "" && !hostName.MatchString(p.DNSSuffix) {
			l.fault(key+".dns_suffix", "%q is not the end of a host name such as vault.azure.net", p.DNSSuffix)
		}
	case TypeGCP:
		if p.Impersonate != "" && !strings.Contains(p.Impersonate, "@") {
			l.fault(key+".impersonate", "%q is not the e-mail address of a service account", p.Impersonate)
		}
		if err := checkAddress(p.Endpoint); p.Endpoint != "" && err != nil {
			l.fault(key+".endpoint", "%v", err)
		}
	}
}

func (l *loader) checkAWS(key string, p Provider) {
	if p.Region != "" && !region.MatchString(p.Region) {
		l.fault(key+".region", "%q is not an AWS region such as eu-west-1", p.Region)
	}
	for i, replica := range p.Replicas {
		if !region.MatchString(replica) {
			l.fault(fmt.Sprintf("%s.replicas[%d]", key, i), "%q is not an AWS region such as eu-west-1", replica)
		}
	}
	if p.AssumeRole != "" && !roleARN.MatchString(p.AssumeRole) {
		l.fault(key+".assume_role", "%q is not the ARN of a role, as in arn:aws:iam::123456789012:role/reader", p.AssumeRole)
	}
	if p.ExternalID != "" && p.AssumeRole == "" {
		l.fault(key+".external_id", "is for a role to assume: give assume_role too")
	}
}
