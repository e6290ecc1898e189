package vault

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"time"

	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/providers"
)

// methodParam is the one parameter that does not go to Vault: "read" or
// "write", where the provider does not know the path.
const methodParam = "method"

// leastTTL is the least that is taken for the rest of a password's life that
// Vault changes by itself: it looks every five seconds which are due.
const leastTTL = 5 * time.Second

// fetchRead reads a path of an engine that needs no treatment of its own.
func (p *Provider) fetchRead(ctx context.Context, _ mount, ref secret.Ref) (secret.Secret, error) {
	params, err := engineParams(ref, "read")
	if err != nil {
		return secret.Secret{}, err
	}
	got, err := p.read(ctx, ref.Path, params)
	if err != nil {
		return secret.Secret{}, err
	}
	return got.secret(ref)
}

// fetchWritten writes to a path of an engine that needs no treatment of its own.
func (p *Provider) fetchWritten(ctx context.Context, _ mount, ref secret.Ref) (secret.Secret, error) {
	params, err := engineParams(ref, "write")
	if err != nil {
		return secret.Secret{}, err
	}
	return p.writeFor(ctx, ref, body(params))
}

// writeFor writes to ref's path and takes the answer as it is.
func (p *Provider) writeFor(ctx context.Context, ref secret.Ref, body map[string]any) (secret.Secret, error) {
	got, err := p.write(ctx, ref.Path, body)
	if err != nil {
		return secret.Secret{}, err
	}
	return got.secret(ref)
}

// engineParams are the parameters of ref that go to Vault, for a path that is
// used by method.
func engineParams(ref secret.Ref, method string) (url.Values, error) {
	params := maps.Clone(ref.Params)
	delete(params, methodParam)
	if asked := ref.Params[methodParam]; len(asked) > 1 || (len(asked) == 1 && asked[0] != method) {
		return nil, fmt.Errorf("%w: %s: %s=%s: the provider uses this path by %s; for paths that it does not know, write method=read or method=write once",
			providers.ErrInvalid, ref.Path, methodParam, asked[0], method)
	}
	return params, nil
}

// body is params as a JSON object: a parameter that is given more than once is a list.
func body(params url.Values) map[string]any {
	out := map[string]any{}
	for name, values := range params {
		out[name] = values
		if len(values) == 1 {
			out[name] = values[0]
		}
	}
	return out
}

// secret is an answer as it is, under its lease when there is one. Without one
// the field ttl says how long the rest is good for; it is no part of the
// secret, since it is another at each reading. Google's tokens call it token_ttl.
func (a answer) secret(ref secret.Ref) (secret.Secret, error) {
	if a.nothing() || len(a.Data) == 0 {
		return secret.Secret{}, fmt.Errorf("%w: there is nothing at %s", providers.ErrNotFound, ref.Path)
	}
	lease, data := a.lease(), a.Data
	if left, given := seconds(data["ttl"]); given && lease.ID == "" {
		lease.TTL = max(left, leastTTL)
		data = maps.Clone(data)
		delete(data, "ttl")
	} else if left, given := seconds(data["token_ttl"]); given && lease.ID == "" {
		lease.TTL = max(left, leastTTL)
	}
	fields, err := values(data)
	return secret.Secret{Fields: fields, Lease: lease}, err
}

// lease is the one under which an answer was given; without its ID there is
// none, and the lease says only when it was asked.
func (a answer) lease() secret.Lease {
	if a.LeaseID == "" {
		return secret.Lease{IssuedAt: a.asked}
	}
	return secret.Lease{
		ID: a.LeaseID, IssuedAt: a.asked, TTL: time.Duration(a.LeaseDuration) * time.Second, Renewable: a.Renewable, Token: a.token,
	}
}

// seconds reads a number of seconds as Vault's engines write them.
func seconds(datum any) (time.Duration, bool) {
	number, isNumber := datum.(json.Number)
	if !isNumber {
		return 0, false
	}
	amount, err := number.Float64()
	return time.Duration(amount * float64(time.Second)), err == nil
}
