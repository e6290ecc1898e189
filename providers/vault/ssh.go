package vault

import (
	"context"
	"fmt"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/providers"
)

// principals is the parameter for the users (or hosts) of a certificate.
const principals = "valid_principals"

// fetchSSH has an SSH key signed (ssh/sign, whose parameter public_key is the
// key) or a signed one made (ssh/issue). The certificate has no lease, but an
// end of its own.
func (p *Provider) fetchSSH(ctx context.Context, _ mount, ref secret.Ref) (secret.Secret, error) {
	if err := oneByOne(ref, principals); err != nil {
		return secret.Secret{}, err
	}
	params, err := engineParams(ref, "write")
	if err != nil {
		return secret.Secret{}, err
	}
	asks := body(params)
	if users := params[principals]; len(users) > 0 {
		asks[principals] = strings.Join(users, ",") // how Vault takes a list here
	}
	found, err := p.writeFor(ctx, ref, asks)
	if err != nil {
		return secret.Secret{}, err
	}
	ends, err := sshEnd(found.Fields["signed_key"])
	if err != nil {
		found.Wipe()
		return secret.Secret{}, fmt.Errorf("%w: %s: what Vault signed is no SSH certificate: %w", providers.ErrUnavailable, ref.Path, err)
	}
	if !ends.IsZero() {
		found.Lease.TTL = max(ends.Sub(found.Lease.IssuedAt), time.Second)
	}
	return found, nil
}

// sshEnd is when an SSH certificate ends; zero: never.
func sshEnd(signed secret.Value) (time.Time, error) {
	public, _, _, _, err := ssh.ParseAuthorizedKey(signed.Reveal()) // to read its end
	if err != nil {
		return time.Time{}, err
	}
	certificate, is := public.(*ssh.Certificate)
	switch {
	case !is:
		return time.Time{}, fmt.Errorf("it is a plain %s key", public.Type())
	case certificate.ValidBefore == ssh.CertTimeInfinity:
		return time.Time{}, nil
	}
	return time.Unix(int64(certificate.ValidBefore), 0), nil
}
