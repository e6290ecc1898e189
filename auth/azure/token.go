package azure

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/broker/secret"
)

// identity is a managed identity of this machine and a token of it.
type identity struct {
	token       secret.Value
	principalID string
	expires     time.Time // by this host's clock, as clients compare it
}

// identify asks for a token. Waiting and asking again is left to whoever logs
// in, so there are no retries.
func (a *Attestor) identify(ctx context.Context, service *metadata, audience string) (identity, error) {
	const doing = "getting a token of the managed identity"
	options := &azidentity.ManagedIdentityCredentialOptions{ClientOptions: azcore.ClientOptions{
		Transport: service, Retry: policy.RetryOptions{MaxRetries: -1},
	}}
	if a.clientID != "" {
		options.ID = azidentity.ClientID(a.clientID)
	}
	credential, err := azidentity.NewManagedIdentityCredential(options)
	if err != nil {
		return identity{}, fmt.Errorf("%s: %w: %w", doing, err, auth.ErrNoIdentity)
	}
	// The library keeps tokens for the whole process and until their end, so
	// one that Vault refused would come back for a day. Naming claims makes it
	// ask; the metadata service is not told of them.
	token, err := credential.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{audience}, Claims: "{}"})
	if err != nil && service.last.rejected() {
		return identity{}, fmt.Errorf("%s for %s: %w: %w", doing, audience, a.rejection(service.last), auth.ErrNoIdentity)
	}
	if err != nil {
		return identity{}, service.explain(ctx, doing, err)
	}
	return a.read(token.Token, service)
}

// read looks into a token for what people want to know and when it ends. It is
// verified by who takes it.
func (a *Attestor) read(token string, service *metadata) (identity, error) {
	claims, err := claimsOf(token)
	if err != nil {
		return identity{}, fmt.Errorf("reading the managed identity's token from %s: something else answers there: what it gives is no token of Entra ID (%w): %w",
			service.where(), err, auth.ErrNoIdentity)
	}
	ends, now := time.Unix(claims.Expires, 0), a.now()
	left := service.clock.Left(ends, now)
	if left <= 0 {
		return identity{}, fmt.Errorf("the metadata service hands out a token of managed identity %s that ended at %s: Azure has not renewed it yet%s: %w",
			claims.PrincipalID, ends.UTC().Format(time.RFC3339), service.clock.Doubt(), auth.ErrUnavailable)
	}
	return identity{token: text(token), principalID: claims.PrincipalID, expires: now.Add(left)}, nil
}

// claims are those of "Access token claims reference" that matter here.
type claims struct {
	PrincipalID string `json:"oid"`
	Expires     int64  `json:"exp"` // seconds since 1970
}

// claimsOf reads a JSON Web Token without verifying it. Its errors do not
// repeat the token.
func claimsOf(token string) (claims, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return claims{}, fmt.Errorf("it has %d parts, not 3", len(parts))
	}
	content, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return claims{}, errors.New("its second part is not base64url")
	}
	var found claims
	if err := json.Unmarshal(content, &found); err != nil || found.PrincipalID == "" {
		return claims{}, errors.New("it does not say whose it is")
	}
	return found, nil
}

// rejection says why the service has no token for what was asked.
func (a *Attestor) rejection(last lastAnswer) error {
	switch {
	case strings.HasPrefix(last.description, "Multiple"):
		return errors.New("this VM has several user-assigned identities and none of its own: say which one by its client ID " +
			"(az vm identity show)")
	case strings.Contains(last.description, "Identity not found") && a.clientID == "":
		return errors.New("this VM has no managed identity: assign one to it (az vm identity assign)")
	case strings.Contains(last.description, "Identity not found"):
		return fmt.Errorf("this VM does not have the managed identity with client ID %s: assign it (az vm identity assign --identities), "+
			"or correct the client ID (az vm identity show)", a.clientID)
	case last.code == "invalid_resource":
		return fmt.Errorf("Entra ID knows no such audience%s (%s)", a.audienceIs, last.description)
	}
	return fmt.Errorf("the metadata service refuses (%d): %s", last.status, last.description)
}
