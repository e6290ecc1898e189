package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/auth/detect"
	"github.com/quaymaster/quaymaster/auth/vaultclient"
	"github.com/quaymaster/quaymaster/broker/config"
	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/providers"
	"github.com/quaymaster/quaymaster/providers/vault"
)

// session is one Vault, asked how it is, and a login there that lasts as long as
// something is to be asked.
type session struct {
	name     string
	settings config.Vault

	reached   chan struct{} // closed when these are known
	health    vaultclient.Health
	healthErr error
	clock     detect.Clock

	loggedIn chan struct{} // closed when these are known
	provider *vault.Provider
	token    auth.Token
	loginErr error
	static   string // what the login rests on, if that is static
	notTried string // why there was no login

	revokeErr error // known when run has ended
}

// newSession is for a login as the agent's, but at once, and of which nothing
// stays.
func newSession(name string, settings config.Vault) *session {
	settings.LoginSpread, settings.RevokeOnShutdown = 0, true
	return &session{name: name, settings: settings, reached: make(chan struct{}), loggedIn: make(chan struct{})}
}

// run asks how the Vault is, logs in, and revokes the token when done is closed.
func (s *session) run(ctx context.Context, d *doctor, done <-chan struct{}) {
	loggedIn := false
	defer func() {
		if !loggedIn {
			close(s.loggedIn)
		}
	}()
	s.askHealth(ctx)
	p := prover{cloud: d.host.found.Cloud, config: d.config, settings: s.settings, provider: s.name, log: d.log}
	if s.notTried = s.whyNot(d, p); s.notTried != "" {
		return
	}
	stores := newStores()
	p.replaced = stores.tellMoved
	if s.loginErr = stores.openVault(p); s.loginErr != nil {
		return
	}
	s.provider, _ = stores.providers[s.name].(*vault.Provider)
	s.revokeErr = stores.whileLoggedIn(ctx, func(ctx context.Context) error {
		s.logIn(ctx, stores)
		loggedIn = true
		close(s.loggedIn)
		<-done
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), checkPatience)
		defer cancel()
		return s.provider.Forget(ctx, asContainer)
	})
}

func (s *session) askHealth(ctx context.Context) {
	defer close(s.reached)
	ctx, cancel := context.WithTimeout(ctx, checkPatience)
	defer cancel()
	client, err := vaultClient(s.settings)
	if err != nil {
		s.healthErr = err
		return
	}
	defer client.CloseIdleConnections()
	if s.health, err = client.Health(ctx); err != nil {
		s.healthErr = vaultclient.Classify(err)
		return
	}
	s.clock.Note(s.health.Header, time.Now())
}

// whyNot is why a login is not even tried; empty: it is.
func (s *session) whyNot(d *doctor, p prover) string {
	switch {
	case s.healthErr != nil:
		return "that Vault is not reached"
	case s.health.Sealed || !s.health.Initialized:
		return "that Vault is sealed or not initialized"
	case d.host.foundErr != nil:
		return "this host has no identity"
	}
	return p.notToTry()
}

func (s *session) logIn(ctx context.Context, stores *stores) {
	ctx, cancel := context.WithTimeout(ctx, checkPatience)
	defer cancel()
	host := stores.hosts[s.name]
	s.token, s.loginErr = host.Token(ctx)
	state := host.State()
	s.static = state.Static
	if s.loginErr != nil && state.Err != nil {
		s.loginErr = state.Err // without when the agent would try again
	}
}

// vaultAnswers says how the Vault is.
func (s *session) vaultAnswers(context.Context) finding {
	address := s.settings.Address
	switch failure, _ := errors.AsType[*vaultclient.Failure](s.healthErr); {
	case failure != nil:
		return wrong(healthRemedy[failure.Kind], "%s: %v", address, failure)
	case s.healthErr != nil:
		return wrong("correct that setting", "%s: %v", address, s.healthErr)
	case !s.health.Initialized:
		return wrong("vault operator init", "%s: Vault %s is not initialized", address, s.health.Version)
	case s.health.Sealed:
		return wrong("unseal it (vault operator unseal), or see why its auto-unseal does not", "%s: Vault %s is sealed", address, s.health.Version)
	case s.health.Standby:
		return fine("%s: Vault %s, a standby, which hands requests on", address, s.health.Version)
	}
	return fine("%s: Vault %s", address, s.health.Version)
}

// healthRemedy says what to look at. The failures say themselves what was
// found.
var healthRemedy = map[vaultclient.Kind]string{
	vaultclient.Invalid:     "see whether vault.address is that of Vault, and not of something before it",
	vaultclient.Denied:      "let this host ask v1/sys/health: something before Vault forbids it",
	vaultclient.NotFound:    "correct vault.address: what answers there is not Vault's API",
	vaultclient.Limited:     "wait, or raise the rate-limit quota of Vault's root",
	vaultclient.Sealed:      "unseal it, or see its own log",
	vaultclient.Failed:      "see Vault's own log",
	vaultclient.Unreachable: "check vault.address, its name in DNS, the route and the packet filters on the way, and that Vault runs",
	vaultclient.Untrusted:   "set vault.ca_file to the authority that issued Vault's certificate, and vault.address to a name that it carries",
}

// loginCheck is how the name of a login's check begins.
const loginCheck = "login "

// accepted says whether the host's role lets this host log in.
func (s *session) accepted(context.Context) finding {
	role := s.settings.Role
	switch {
	case s.notTried != "":
		return doubt("mend that first; else the agent's log says how its own login went", "a login as role %q was not tried: %s", role, s.notTried)
	case errors.Is(s.loginErr, auth.ErrNoIdentity):
		return wrong("see identity and metadata", "%v", s.loginErr)
	case errors.Is(s.loginErr, auth.ErrRefused) && strings.Contains(s.loginErr.Error(), "valid region"): // as STS words it
		return wrong("set vault.sts_region to the region of the STS that Vault asks (us-east-1, unless Vault's aws auth method was told sts_region)", "%v", s.loginErr)
	case errors.Is(s.loginErr, auth.ErrRefused):
		return wrong("see in Vault that the role exists, is bound to this host's identity, and that vault.mount and vault.server_id are what Vault has", "%v", s.loginErr)
	case s.loginErr != nil:
		return wrong("try again; if it stays so, see Vault's own log, and whether Vault reaches this host's cloud", "%v", s.loginErr)
	case s.static != "":
		return fine("accepted as %s with policies %s; its token is somebody else's and is left alone", s.token.Principal, strings.Join(s.token.Policies, ", "))
	}
	return fine("role %q is accepted: %s with policies %s, for %s", role, s.token.Principal, strings.Join(s.token.Policies, ", "), s.token.TTL)
}

// asContainer is in whose name is asked what grants let containers read in
// their own.
const asContainer = "quaymaster-doctor"

// reader is the provider as a grant's containers are served by it.
func (s *session) reader(login config.GrantLogin) *vault.Provider {
	if login.Role == "" && len(login.Policies) == 0 {
		return s.provider
	}
	client := providers.Client{Container: asContainer, Role: login.Role, Policies: login.Policies, Metadata: map[string]string{"container_name": asContainer}}
	as, _ := s.provider.For(client).(*vault.Provider)
	return as
}

// mayRead says whether one pattern of a grant can be had from this Vault.
func (s *session) mayRead(ctx context.Context, g config.Grant, pattern secret.Pattern) finding {
	if s.provider == nil || s.loginErr != nil {
		return doubt("see vault "+s.name+" and "+loginCheck+s.name, "%s was not looked at: there is no login", pattern)
	}
	ref, whole, err := asked(pattern)
	if err != nil {
		return wrong("correct the pattern", "%v", err)
	}
	reader := s.reader(g.Vault)
	may, err := reader.Permission(ctx, ref)
	switch {
	case err != nil && !whole && (errors.Is(err, providers.ErrInvalid) || errors.Is(err, providers.ErrDenied)):
		return doubt("see that single paths below it can be had (vault token capabilities)", "%s names too much to be asked about at once: %v", pattern, err)
	case errors.Is(err, auth.ErrRefused) || errors.Is(err, auth.ErrUnavailable):
		return wrong("see in Vault that the role and the policies of the grant's vault block exist, and that this host's identity may have them", "%s: %v", pattern, err)
	case err != nil:
		return wrong(grantRemedy(err), "%s: %v", pattern, err)
	case !may.Allowed && whole:
		return wrong(policyText(may), "%s is granted here, and Vault lets this host not have it", pattern)
	case !may.Allowed:
		return doubt(policyText(may)+", unless its policies name single paths", "%s is granted here, and Vault does not let this host have all that is below %s", pattern, may.Path)
	case !whole:
		return fine("%s: the policies allow %s below %s (asked for that prefix; single paths may have rules of their own)", pattern, may.Capability, may.Path)
	case may.Issues || may.Capability != "read" || ref.Params != nil:
		return fine("%s: the policies allow %s at %s (not tried: that would make something, or takes what only a container says)", pattern, may.Capability, may.Path)
	}
	return tried(ctx, reader, pattern, ref)
}

func policyText(may vault.Permission) string {
	return fmt.Sprintf("in Vault, give the role a policy that says: path %q { capabilities = [%q] }", may.Path, may.Capability)
}

// asked is the ref that is asked about for a pattern: the only one that it can
// match, or the beginning of all, up to a slash.
func asked(pattern secret.Pattern) (ref secret.Ref, whole bool, err error) {
	if ref, err = secret.ParseRef(pattern.String()); err != nil { // a pattern is a ref whose asterisks are wildcards
		return ref, false, err
	}
	if strings.Contains(ref.Version, "*") {
		ref.Version = ""
	}
	if ref.Path, whole = pattern.Path(); !whole {
		ref.Path = ref.Path[:strings.LastIndexByte(ref.Path, '/')+1]
	}
	return ref, whole, nil
}

// tried reads a secret to see that it can be read, and wipes it.
func tried(ctx context.Context, from providers.Provider, pattern secret.Pattern, ref secret.Ref) finding {
	got, err := from.Fetch(ctx, ref.Whole())
	got.Wipe()
	switch {
	case errors.Is(err, providers.ErrNotFound):
		return doubt("put the secret there, or correct the grant", "%s may be read, but: %v", pattern, err)
	case err != nil:
		return wrong(grantRemedy(err), "%s: %v", pattern, err)
	}
	return fine("%s can be read", pattern)
}

// grantRemedy says what to do about an error of a provider, whose text says more.
func grantRemedy(err error) string {
	switch {
	case errors.Is(err, providers.ErrDenied):
		return "give this host's identity the permission that is named, or take the pattern out of the grant"
	case errors.Is(err, providers.ErrNotFound):
		return "correct the pattern, or make in the store what it names"
	case errors.Is(err, providers.ErrInvalid):
		return "correct the pattern"
	}
	return "see why the store does not answer"
}
