package vault

import (
	"context"
	"encoding/base64"
	"fmt"

	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/providers"
)

// fetchDecrypted has transit/decrypt open the ciphertext that the ref itself
// holds. The one field is "plaintext".
func (p *Provider) fetchDecrypted(ctx context.Context, _ mount, ref secret.Ref) (secret.Secret, error) {
	if !ref.Params.Has("ciphertext") {
		return secret.Secret{}, fmt.Errorf("%w: %s: add ?ciphertext=vault:v1:… to the ref", providers.ErrInvalid, ref.Path)
	}
	params, err := engineParams(ref, "write")
	if err != nil {
		return secret.Secret{}, err
	}
	got, err := p.write(ctx, ref.Path, body(params))
	if err != nil {
		return secret.Secret{}, err
	}
	if got.nothing() {
		return secret.Secret{}, fmt.Errorf("%w: %s answered without a plaintext", providers.ErrUnavailable, ref.Path)
	}
	encoded, isText := got.Data["plaintext"].(string)
	plaintext, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil || !isText {
		return secret.Secret{}, fmt.Errorf("%w: %s: the plaintext that was answered is not base64", providers.ErrUnavailable, ref.Path)
	}
	return secret.Secret{Lease: secret.Lease{IssuedAt: got.asked}, Fields: map[string]secret.Value{"plaintext": secret.NewValue(plaintext)}}, nil
}
