package config

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"
)

// check judges the whole configuration, after all files are read.
func (l *loader) check() {
	c := &l.config
	if l.refused[""] { // some file is not a mapping at all
		return
	}
	if !l.content {
		l.problems = append(l.problems, Problem{Place: Place{File: l.main}, Message: emptyMessage})
		return
	}
	l.addClouds()
	l.checkIdentity()
	if _, given := l.places["vault"]; given {
		c.Vault.Address = cmp.Or(c.Vault.Address, os.Getenv("VAULT_ADDR")) // as Vault's own tools read it
		l.checkVault("vault", c.Vault)
		l.checkRate("vault.rate", c.Vault.Rate)
	} else if len(c.Providers) == 0 && !l.refusedWithin("providers") {
		l.fault("vault", "is missing, and no providers are configured, so there is nowhere to read a secret from; %s", smallest)
	}
	for _, name := range slices.Sorted(maps.Keys(c.Providers)) {
		l.checkProvider("providers."+name, name, c.Providers[name])
	}
	l.checkGrants()
	l.checkProfiles()
	l.checkBootCache()
	l.checkPlaces()
	l.checkDocker()
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

func (l *loader) oneOf(key, value string, known ...string) {
	if !slices.Contains(known, value) {
		l.fault(key, "%q is not one of %s", value, strings.Join(known, ", "))
	}
}

// required reports whether there is a value to look at.
func (l *loader) required(key, value, hint string) bool {
	if value == "" && !l.refused[key] {
		l.fault(key, "is missing: %s", hint)
	}
	return value != ""
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

// refusedWithin reports whether key or something below it was refused.
func (l *loader) refusedWithin(key string) bool {
	for refused := range l.refused {
		if refused == key || strings.HasPrefix(refused, key+".") {
			return true
		}
	}
	return false
}

// checkPlaces looks at where the agent reads and writes on the host.
func (l *loader) checkPlaces() {
	c := &l.config
	for _, p := range []struct{ key, path string }{
		{"paths.run", c.Paths.Run}, {"paths.state", c.Paths.State}, {"paths.templates", c.Paths.Templates}, {"audit.file", c.Audit.File},
	} {
		if err := checkPath(p.path); err != nil {
			l.fault(p.key, "%v", err)
		}
	}
	if strings.HasPrefix(c.Paths.State+"/", c.Paths.Run+"/") {
		l.fault("paths.state", "%q lies in paths.run, which is memory and empty after a reboot", c.Paths.State)
	}
}

// maxSocketPath is how long the name of a Unix socket may be (unix(7)), less
// the zero at its end.
const maxSocketPath = 107

// pluginName is what the engine and Compose accept as the name of a driver and
// what is one file's name.
var pluginName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]*$`)

// checkDocker looks at how the agent and the engine meet.
func (l *loader) checkDocker() {
	d := l.config.Docker
	socket, isUnix := strings.CutPrefix(d.Host, "unix://")
	if !isUnix || checkPath(socket) != nil {
		l.fault("docker.host", "%q is not the socket of an engine on this host, as in unix:///var/run/docker.sock", d.Host)
	}
	for _, dir := range []struct{ key, path string }{
		{"docker.data_root", d.DataRoot}, {"docker.plugin_dir", d.PluginDir}, {"docker.cdi_dir", d.CDIDir},
	} {
		if err := checkPath(dir.path); dir.path != "" && err != nil {
			l.fault(dir.key, "%v", err)
		}
	}
	switch socket := path.Join(d.PluginDir, d.Plugin+".sock"); {
	case d.Plugin == "":
	case !pluginName.MatchString(d.Plugin):
		l.fault("docker.plugin", "%q is not a name for a driver: use letters, digits, dashes, dots and underscores, starting with a letter or a digit", d.Plugin)
	case d.Plugin == "local":
		l.fault("docker.plugin", "%q is the engine's own volume driver: choose another name", d.Plugin)
	case len(socket) > maxSocketPath:
		l.fault("docker.plugin", "the socket %s would have a name of %d bytes: the limit is %d", socket, len(socket), maxSocketPath)
	}
	if l.config.LateAttach && l.config.RequireGate {
		l.fault("late_attach", "goes against require_gate, which stops the containers that this would serve: set one of them to false")
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
