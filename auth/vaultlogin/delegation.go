package vaultlogin

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/auth/vaultclient"
	"github.com/quaymaster/quaymaster/broker/lease"
	"github.com/quaymaster/quaymaster/providers"
)

// DelegationOptions say whose tokens the containers' are made from.
type DelegationOptions struct {
	Client *vaultclient.Client
	// Host is the parent of the tokens of clients that name no role.
	Host *Source
	// Login makes a login as another role of the same auth method. The
	// Delegation runs it.
	Login  func(role string) (*Source, error)
	Logger *slog.Logger
	// Replaced is as in Options, for the containers' tokens.
	Replaced func()

	// Backoff between attempts that failed. Zero: from 1 s to 30 s.
	Backoff lease.Backoff
	// Jitter draws from [0, 1); nil: at random.
	Jitter func() float64
	// Wall is as in Options.
	Wall func() time.Time
}

// Delegation makes tokens for containers: a child of the host's token, or of
// the token of another role, for each container and set of policies. Vault's
// audit log shows a child's metadata with each request that is made with it,
// and a child may do no more than its policies, which its parent must have.
//
// A child is made when it is first used. It lives as long as its container,
// because whatever was leased under it dies with it: Run renews it, and when
// it cannot be renewed, or its parent was replaced, a new one takes its place
// at its next use. A child dies with its parent, so its end is never later
// than what the parent's source knows of the parent. A child takes the TTL
// of its parent: if the agent is killed, its children end when its own token does.
//
// A login as another role is begun when a client first names the role, and
// ended when no container has needed it for a while.
type Delegation struct {
	client   *vaultclient.Client
	host     *Source
	login    func(role string) (*Source, error)
	log      *slog.Logger
	replaced func()
	backoff  lease.Backoff
	jitter   func() float64
	awake    lease.Awake

	wake chan struct{} // capacity 1: something new for Run

	mu       sync.Mutex
	children map[string]*child   // by the client's key
	ending   map[string][]*child // by container: forgotten, but not revoked yet
	logins   map[string]*roleLogin
}

// roleLogin is a login as a role that some clients name.
type roleLogin struct {
	source *Source
	stop   context.CancelFunc // nil: not running yet
	idle   time.Time          // since when nobody needs it; zero: somebody does
}

// NewDelegation makes a Delegation. It makes no request.
func NewDelegation(o DelegationOptions) (*Delegation, error) {
	if o.Client == nil || o.Host == nil || o.Login == nil || o.Logger == nil {
		return nil, errors.New("tokens for containers need a client, the host's login, a way to log in as another role and a logger")
	}
	d := &Delegation{
		client: o.Client, host: o.Host, login: o.Login, log: o.Logger.With("vault", o.Client.Address()),
		replaced: o.Replaced,
		backoff:  cmp.Or(o.Backoff, defaultBackoff), jitter: o.Jitter, awake: lease.Awake{Wall: o.Wall},
		wake:     make(chan struct{}, 1),
		children: map[string]*child{}, ending: map[string][]*child{}, logins: map[string]*roleLogin{},
	}
	if d.jitter == nil {
		d.jitter = rand.Float64
	}
	return d, nil
}

// Source returns the tokens of a client, the same source each time for one
// container, role and set of policies. It makes no request. The source's
// errors name the container.
func (d *Delegation) Source(client providers.Client) auth.TokenSource {
	client.Policies = slices.Compact(slices.Sorted(slices.Values(client.Policies)))
	key := strings.Join(append([]string{client.Container, client.Role}, client.Policies...), "\x00")
	d.mu.Lock()
	defer d.mu.Unlock()
	if known := d.children[key]; known != nil {
		return known
	}
	client.Metadata = maps.Clone(client.Metadata)
	made := &child{Delegation: d, client: client, turn: make(chan struct{}, 1), past: newPast(d.replaced)}
	made.parent, made.hopeless = d.parentOf(client.Role)
	d.children[key] = made
	return made
}

// parentOf is the login that a role stands for. The caller has locked d.mu.
func (d *Delegation) parentOf(role string) (*Source, error) {
	if role == "" {
		return d.host, nil
	}
	if known := d.logins[role]; known != nil {
		known.idle = time.Time{}
		return known.source, nil
	}
	source, err := d.login(role)
	if err != nil {
		return nil, err
	}
	d.logins[role] = &roleLogin{source: source}
	d.wakeUp()
	return source, nil
}

// Forget ends the tokens of a container: they are revoked, and with them all
// that was leased under them. A token that could not be revoked is not renewed
// any more and ends by itself; Forget may be called again to try once more.
func (d *Delegation) Forget(ctx context.Context, container string) error {
	var failed []*child
	var first error
	for _, c := range d.take(container) {
		if err := c.end(ctx); err != nil {
			first, failed = cmp.Or(first, err), append(failed, c)
		}
	}
	if first != nil {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.ending[container] = append(d.ending[container], failed...)
	}
	return first
}

// take removes the children of a container.
func (d *Delegation) take(container string) []*child {
	d.mu.Lock()
	defer d.mu.Unlock()
	taken := d.ending[container]
	delete(d.ending, container)
	for key, c := range d.children {
		if c.client.Container == container {
			taken = append(taken, c)
			delete(d.children, key)
		}
	}
	return taken
}

// wakeUp lets Run look again.
func (d *Delegation) wakeUp() {
	select {
	case d.wake <- struct{}{}:
	default: // it will look already
	}
}
