package config

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/quaymaster/quaymaster/broker/secret"
)

// The selector keys that a grant may use; the last two stand for families.
// They are those of package workload, which is on the same layer as this one.
var (
	selectors        = []string{"compose.project", "compose.service", "image.ref", "name", "swarm.service", "user"}
	labelPrefix      = "label."
	imageLabelPrefix = "image.label."
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

// check judges the whole configuration, after all files are read.
func (l *loader) check() {
	c := &l.config
	if l.refused[""] { // some file is not a mapping at all
		return
	}
	if !l.content {
		l.problems = append(l.problems, Problem{Place: Place{File: l.main}, Message: "is empty; " + smallest})
		return
	}
	l.addClouds()
	l.checkIdentity()
	if _, given := l.places["vault"]; given {
		l.checkVault("vault", c.Vault)
	} else if len(c.Providers) == 0 && !l.refusedWithin("providers") {
		l.fault("vault", "is missing, and no providers are configured, so there is nowhere to read a secret from; %s", smallest)
	}
	for _, name := range slices.Sorted(maps.Keys(c.Providers)) {
		l.checkProvider("providers."+name, name, c.Providers[name])
	}
	l.checkGrants()
	l.checkPlaces()
	l.checkLimits()
	l.oneOf("log.level", c.Log.Level, "debug", "info", "warn", "error")
	l.oneOf("log.format", c.Log.Format, "text", "json")
}

func (l *loader) checkIdentity() {
	c := &l.config
	l.oneOf("identity", c.Identity, IdentityAuto, IdentityAWS, IdentityAzure, IdentityGCP, IdentityTokenFile, IdentityAppRoleWrapped)
	l.oneOf("gcp.login", c.GCP.Login, LoginGCE, LoginIAM)
	l.oneOf("aws.login", c.AWS.Login, LoginIAM, LoginEC2)
	if c.IsStatic() && !c.AllowStaticIdentity {
		l.fault("identity", "%q is a static identity, which a host in a cloud does not need and whoever reads its file can use: "+
			"use auto, or say allow_static_identity: true on a developer's machine", c.Identity)
	}
	switch c.Identity {
	case IdentityTokenFile:
		l.secretFile("static_identity.token_file", c.StaticIdentity.TokenFile)
	case IdentityAppRoleWrapped:
		l.required("static_identity.role_id", c.StaticIdentity.RoleID, "the ID of the AppRole that this machine logs in as")
		l.secretFile("static_identity.wrapped_secret_id_file", c.StaticIdentity.WrappedSecretIDFile)
	}
}

// secretFile checks the name of a file that need not be there yet.
func (l *loader) secretFile(key, name string) {
	if !l.required(key, name, "the file that holds it") {
		return
	}
	if err := checkPath(name); err != nil {
		l.fault(key, "%v", err)
	}
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

func (l *loader) oneOf(key, value string, known ...string) {
	if !slices.Contains(known, value) {
		l.fault(key, "%q is not one of %s", value, strings.Join(known, ", "))
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
		if u, err := url.Parse(v.STSEndpoint); err != nil || u.Scheme != "https" && !(u.Scheme == "http" && loopback(u.Hostname())) || u.Host == "" || u.User != nil {
			l.fault(key+".sts_endpoint", "is not the https:// URL of an STS, as Vault's own sts_endpoint is")
		}
	}
	if v.LoginSpread < 0 || v.LoginSpread > time.Hour {
		l.fault(key+".login_spread", "%s is not between 0s and 1h", v.LoginSpread)
	}
}

// required reports whether there is a value to look at.
func (l *loader) required(key, value, hint string) bool {
	if value == "" && !l.refused[key] {
		l.fault(key, "is missing: %s", hint)
	}
	return value != ""
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

// checkAddress accepts the URL of a server. A token would cross the network in
// clear text with plain HTTP, so that is for a server on this machine.
func checkAddress(address string) error {
	u, err := url.Parse(address)
	switch {
	case err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Hostname() == "":
		return errors.New("is not an https:// URL such as https://vault.internal:8200")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return errors.New("only scheme, host, port and path may stand in it") // it may hold a password: not repeated
	case u.Scheme == "http" && !loopback(u.Hostname()):
		return fmt.Errorf("the token would cross the network to %s in clear text: use https:// (http:// is for a loopback address only)", u.Host)
	}
	return nil
}

func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || (err == nil && ip.IsLoopback())
}

func checkFile(name string) error {
	if err := checkPath(name); err != nil {
		return err
	}
	info, err := os.Stat(name)
	if err != nil {
		return fmt.Errorf("%q: %w", name, cause(err))
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%q is %s, not a regular file", name, kindOf(info.Mode()))
	}
	return nil
}

func checkPath(name string) error {
	if !path.IsAbs(name) || path.Clean(name) != name || name == "/" {
		return fmt.Errorf("%q is not an absolute path without dots, double slashes and a slash at the end", name)
	}
	return nil
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
	if p.Rate < 0 {
		l.fault(key+".rate", "%d: write how many requests a second the provider may be asked", p.Rate)
	}
	_, err := secret.ParsePattern(name + ":**")
	switch {
	case name == BuiltinVault:
		l.fault(key, "%q is the provider that the vault block configures: choose another name", name)
	case err != nil:
		l.fault(key, "%q is not a name for a provider: use lower-case letters, digits and dashes, starting with a letter", name)
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

func (l *loader) checkGrants() {
	if _, given := l.places["grants"]; !given || len(l.config.Grants) == 0 {
		l.warnings = append(l.warnings, Problem{Place: l.place("grants"), Key: "grants",
			Message: "no grants: every labelled container will be refused"})
	}
	first := map[string]string{} // name → key of its name
	for i, grant := range l.config.Grants {
		key := fmt.Sprintf("grants[%d]", i)
		if l.required(key+".name", grant.Name, "it is what reasons and audit records call the grant") {
			if before, twice := first[grant.Name]; twice {
				l.fault(key+".name", "grant %q is defined twice: at %s and at %s", grant.Name, l.place(before), l.place(key+".name"))
			} else {
				first[grant.Name] = key + ".name"
			}
		}
		l.checkWorkloads(key+".workloads", grant.Workloads)
		l.checkSecrets(key+".secrets", grant.Secrets)
		l.checkGrantLogin(key+".vault", grant)
	}
}

// checkGrantLogin: a login of its own is for secrets that Vault keeps.
func (l *loader) checkGrantLogin(key string, grant Grant) {
	if _, given := l.places[key]; !given || l.refusedWithin(key) {
		return
	}
	if grant.Vault.Role == "" && len(grant.Vault.Policies) == 0 {
		l.fault(key, "says nothing: give a role, a list of policies, or both")
	}
	vaults := l.config.Vaults()
	if !slices.ContainsFunc(grant.Secrets, func(p secret.Pattern) bool { _, isVault := vaults[p.Provider()]; return isVault }) {
		l.fault(key, "is for secrets that a Vault keeps, and this grant names none")
	}
}

func (l *loader) checkWorkloads(key string, workloads map[string]string) {
	if l.refusedWithin(key) {
		return
	}
	if len(workloads) == 0 {
		l.fault(key, "no selector: the grant would match every container; name one, as in {compose.project: shop}")
		return
	}
	byImageAlone := true
	for _, selector := range slices.Sorted(maps.Keys(workloads)) {
		_, isImageLabel := named(selector, imageLabelPrefix)
		_, isLabel := named(selector, labelPrefix)
		if !isImageLabel && !isLabel && !slices.Contains(selectors, selector) {
			l.fault(key+"."+selector, "unknown selector %q; the selectors are %s, %s<key> and %s<key>",
				selector, strings.Join(selectors, ", "), labelPrefix, imageLabelPrefix)
		}
		byImageAlone = byImageAlone && isImageLabel
	}
	if byImageAlone {
		l.fault(key, "only %s selectors: what an image says of itself is never enough to get a secret; "+
			"add one that the image does not choose, as in {image.ref: \"shop/*\"}", imageLabelPrefix)
	}
}

// named returns what follows prefix in selector, and whether anything does.
func named(selector, prefix string) (string, bool) {
	name, found := strings.CutPrefix(selector, prefix)
	return name, found && name != ""
}

// refusedWithin reports whether key or something below it was refused.
func (l *loader) refusedWithin(key string) bool {
	for refused := range l.refused {
		if refused == key || strings.HasPrefix(refused, key+".") {
			return true
		}
	}
	return false
}

func (l *loader) checkSecrets(key string, patterns []secret.Pattern) {
	if len(patterns) == 0 && !l.refused[key] {
		l.fault(key, "no pattern: the grant would give nothing; name a secret, as in [\"vault:kv/shop/db\"]")
	}
	configured := slices.Sorted(maps.Keys(l.config.Providers))
	if _, given := l.places["vault"]; given {
		configured = append([]string{BuiltinVault}, configured...)
	}
	for i, pattern := range patterns {
		if name := pattern.Provider(); name != "" && !slices.Contains(configured, name) {
			l.fault(fmt.Sprintf("%s[%d]", key, i), "pattern %q: there is no provider %q; configured: %s",
				pattern, name, strings.Join(configured, ", "))
		}
	}
}

// checkPlaces looks at where the agent reads and writes on the host.
func (l *loader) checkPlaces() {
	c := &l.config
	for _, p := range []struct{ key, path string }{
		{"paths.run", c.Paths.Run}, {"paths.state", c.Paths.State}, {"audit.file", c.Audit.File},
	} {
		if err := checkPath(p.path); err != nil {
			l.fault(p.key, "%v", err)
		}
	}
	if strings.HasPrefix(c.Paths.State+"/", c.Paths.Run+"/") {
		l.fault("paths.state", "%q lies in paths.run, which is memory and empty after a reboot", c.Paths.State)
	}
	socket, isUnix := strings.CutPrefix(c.Docker.Host, "unix://")
	if !isUnix || checkPath(socket) != nil {
		l.fault("docker.host", "%q is not the socket of an engine on this host, as in unix:///var/run/docker.sock", c.Docker.Host)
	}
}

func (l *loader) checkLimits() {
	c := &l.config
	l.within("gate_timeout", c.GateTimeout, time.Second, 10*time.Minute)
	l.within("refresh", c.Refresh, time.Second, 0)
	l.within("max_stale", c.MaxStale, 0, 0)
}

// within checks a duration; an upper limit of zero is none.
func (l *loader) within(key string, d, atLeast, atMost time.Duration) {
	if d < atLeast {
		l.fault(key, "%s is too short: at least %s", d, atLeast)
	}
	if atMost > 0 && d > atMost {
		l.fault(key, "%s is too long: at most %s", d, atMost)
	}
}
