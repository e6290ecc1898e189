package aws

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"

	sdkimds "github.com/aws/aws-sdk-go-v2/feature/ec2/imds"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/broker/secret"
)

// signedDocument is the identity document and AWS's signature of it in one, as
// PKCS#7 with an RSA key of 2048 bits: "Verify the identity document" in the
// EC2 User Guide. The one at …/pkcs7 is signed by DSA with SHA-1.
const signedDocument = "instance-identity/rsa2048"

// document is the evidence of type ec2.
func (a *Attestor) document(ctx context.Context) (auth.Evidence, error) {
	nonce, err := a.nonce.get()
	if err != nil {
		return auth.Evidence{}, err
	}
	service, err := newMetadata(a.now)
	if err != nil {
		return auth.Evidence{}, err
	}
	host, err := service.client.GetInstanceIdentityDocument(ctx, nil)
	if err != nil {
		return auth.Evidence{}, service.explain(ctx, "reading the instance identity document", err)
	}
	signed, err := service.signedDocument(ctx)
	if err != nil {
		return auth.Evidence{}, err
	}
	return auth.Evidence{
		Method: "aws", Principal: fmt.Sprintf("%s of account %s (%s)", host.InstanceID, host.AccountID, host.Region),
		Login: map[string]secret.Value{"pkcs7": signed, "nonce": nonce},
	}, nil
}

// signedDocument is in base64 without lines, as Vault takes it.
func (m *metadata) signedDocument(ctx context.Context) (secret.Value, error) {
	const doing = "reading the signed identity document"
	answer, err := m.client.GetDynamicData(ctx, &sdkimds.GetDynamicDataInput{Path: signedDocument})
	if err != nil && m.last.status == http.StatusNotFound {
		return secret.Value{}, fmt.Errorf("%s: EC2's metadata service%s has no %s: log in with type iam: %w",
			doing, m.last.where(), signedDocument, auth.ErrNoIdentity)
	}
	if err != nil {
		return secret.Value{}, m.explain(ctx, doing, err)
	}
	defer answer.Content.Close()
	lines, err := io.ReadAll(answer.Content)
	if err != nil {
		return secret.Value{}, m.explain(ctx, doing, err)
	}
	return secret.NewValue([]byte(strings.Join(strings.Fields(string(lines)), ""))), nil
}
