package vault

import (
	"context"
	"crypto/tls"
	"fmt"
	"slices"
	"strings"

	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/providers"
)

// issueParams are the parameters of a certificate. Vault passes over what it
// does not know, so a slip of the pen would yield another certificate than was
// meant: anything else is refused here.
var issueParams = []string{
	"common_name", "alt_names", "ip_sans", "uri_sans", "other_sans", "user_ids", "serial_number", "exclude_cn_from_sans",
	"ttl", "not_after", "remove_roots_from_chain",
}

// fetchCertificate has a certificate made, by pki/issue with its key or, by
// pki/sign, for a key that is made here. A certificate has no lease unless
// Vault's role says generate_lease: then it is revoked with the container.
// Otherwise its end is its own, and a short ttl is what revocation would be.
func (p *Provider) fetchCertificate(ctx context.Context, m mount, ref secret.Ref) (secret.Secret, error) {
	signing := firstSegment(m, ref) == "sign"
	if err := checkIssueParams(ref, signing); err != nil {
		return secret.Secret{}, err
	}
	asks, key := certificateBody(ref), []byte(nil)
	if signing {
		request, made, err := newRequest(ref)
		if err != nil {
			return secret.Secret{}, err
		}
		asks["csr"], key = string(request), made
	}
	got, err := p.write(ctx, ref.Path, asks)
	if err != nil {
		clear(key)
		return secret.Secret{}, err
	}
	if got.nothing() {
		return secret.Secret{}, fmt.Errorf("%w: %s answered without a certificate", providers.ErrUnavailable, ref.Path)
	}
	if !signing {
		key = pemText(got.Data["private_key"])
	}
	return certificate(ref, got, key)
}

func checkIssueParams(ref secret.Ref, signing bool) error {
	allowed := append([]string{"private_key_format"}, issueParams...)
	if signing {
		allowed = append([]string{"key_type", "key_bits"}, issueParams...)
	}
	for name := range ref.Params {
		if !slices.Contains(allowed, name) {
			return fmt.Errorf("%w: %s: a certificate takes no parameter %q; it takes %s", providers.ErrInvalid, ref.Path, name, strings.Join(allowed, ", "))
		}
		if err := oneByOne(ref, name); err != nil {
			return err
		}
	}
	if format := ref.Params.Get("private_key_format"); !slices.Contains([]string{"", "pkcs8", "der"}, format) {
		return fmt.Errorf("%w: %s: private_key_format is pkcs8, or der for the form of the key's own type, not %q", providers.ErrInvalid, ref.Path, format)
	}
	return nil
}

// oneByOne refuses a parameter that holds several names with commas between
// them. A grant that allows alt_names=*.shop.internal is matched with each
// value, and must not be taken to allow "bank.internal,a.shop.internal".
func oneByOne(ref secret.Ref, name string) error {
	for _, value := range ref.Params[name] {
		if strings.Contains(value, ",") {
			return fmt.Errorf("%w: %s: %s=%s: write the parameter once for each name, as in %s=a&%s=b, so that a grant can tell them apart",
				providers.ErrInvalid, ref.Path, name, value, name, name)
		}
	}
	return nil
}

// certificateBody is what Vault is asked for. Names that are given more than
// once are a list with commas, which is how Vault takes lists here. A key that
// Vault makes is asked for as PKCS #8, the one form that every reader takes and
// the one of keys made here.
func certificateBody(ref secret.Ref) map[string]any {
	asks := map[string]any{"format": "pem", "private_key_format": "pkcs8"}
	for name, values := range ref.Params {
		asks[name] = strings.Join(values, ",")
	}
	delete(asks, "key_type")
	delete(asks, "key_bits")
	return asks
}

// certificate reads what Vault issued, and checks that the key belongs to it.
func certificate(ref secret.Ref, got answer, key []byte) (secret.Secret, error) {
	leaf, issuer := pemText(got.Data["certificate"]), pemText(got.Data["issuing_ca"])
	pair, err := tls.X509KeyPair(leaf, key)
	if err != nil {
		clear(key)
		return secret.Secret{}, fmt.Errorf("%w: %s: what Vault issued is no certificate for its key: %w", providers.ErrUnavailable, ref.Path, err)
	}
	chain := pemText(got.Data["ca_chain"])
	if len(chain) == 0 { // an authority without one is its own chain
		chain = slices.Clone(issuer)
	}
	lease := got.lease()
	lease.Renewable = false
	if lease.TTL = pair.Leaf.NotAfter.Sub(got.asked); lease.TTL <= 0 {
		clear(key)
		return secret.Secret{}, fmt.Errorf("%w: %s: the certificate ended at %s already: set this machine's clock, or Vault's",
			providers.ErrUnavailable, ref.Path, pair.Leaf.NotAfter)
	}
	serial, _ := got.Data["serial_number"].(string)
	return secret.Secret{Lease: lease, Fields: map[string]secret.Value{
		"certificate": secret.NewValue(leaf), "private_key": secret.NewValue(key), "issuing_ca": secret.NewValue(issuer),
		"ca_chain": secret.NewValue(chain), "serial_number": secret.NewValue([]byte(serial)),
	}}, nil
}

// pemText is one PEM text or several, each ending in a newline.
func pemText(datum any) []byte {
	texts, isList := datum.([]any)
	if !isList {
		texts = []any{datum}
	}
	var out []byte
	for _, text := range texts {
		if text, isText := text.(string); isText && text != "" {
			out = append(append(out, strings.TrimSpace(text)...), '\n')
		}
	}
	return out
}
