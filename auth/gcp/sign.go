package gcp

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"path"
	"time"

	"github.com/quaymaster/quaymaster/broker/secret"
)

// claimsLife is how long signed claims are good. A role of Vault takes 15
// minutes at most unless it says otherwise (max_jwt_exp), so a clock may be
// wrong by five minutes either way.
const claimsLife = 10 * time.Minute

// signedClaims has IAM sign claims in the name of the instance's service
// account.
func (a *Attestor) signedClaims(ctx context.Context, audience string) (identity, secret.Value, error) {
	host, access, err := account(ctx, a.now)
	if err != nil {
		return identity{}, secret.Value{}, err
	}
	claims, err := json.Marshal(map[string]any{"sub": host.account, "aud": audience, "exp": host.clock.Correct(a.now()).Add(claimsLife).Unix()})
	if err != nil {
		return identity{}, secret.Value{}, fmt.Errorf("writing the claims: %w", err)
	}
	jwt, err := a.sign(ctx, host.account, access, claims)
	return host, jwt, err
}

// account asks the metadata server who this machine is, and for an access
// token of its service account.
func account(ctx context.Context, now func() time.Time) (identity, secret.Value, error) {
	limited, cancel := context.WithTimeout(ctx, attestTimeout)
	defer cancel()
	server, host := newMetadata(now), identity{}
	var err error
	if host.account, err = server.ofAccount(limited, "email"); err != nil {
		return identity{}, secret.Value{}, err
	}
	for _, fact := range []struct {
		entry string
		into  *string
	}{{"instance/name", &host.instance}, {"instance/zone", &host.zone}, {"project/project-id", &host.project}} {
		if *fact.into, err = server.get(limited, fact.entry); err != nil {
			return identity{}, secret.Value{}, err
		}
	}
	host.zone = path.Base(host.zone) // projects/NUMBER/zones/ZONE
	access, _, err := server.access(limited)
	host.clock = server.last.clock
	return host, access, err
}

// sign calls projects.serviceAccounts.signJwt of the IAM Credentials API, as its
// reference (REST, v1) describes it.
func (a *Attestor) sign(ctx context.Context, account string, access secret.Value, claims []byte) (secret.Value, error) {
	const doing = "to sign"
	code, answer, err := a.iam.call(ctx, doing, account+":signJwt", access, map[string]string{"payload": string(claims)})
	if err != nil {
		return secret.Value{}, err
	}
	var said struct {
		Signed string  `json:"signedJwt"`
		Error  refusal `json:"error"`
	}
	err = json.Unmarshal(answer, &said)
	if err == nil && code == http.StatusOK && said.Signed != "" {
		return secret.NewValue([]byte(said.Signed)), nil
	}
	return secret.Value{}, a.iam.refused(doing, code, said.Error, "its answer holds no signed JWT: is that Google's API?",
		"let "+account+" sign in its own name: grant it roles/iam.serviceAccountTokenCreator on itself "+
			"(gcloud iam service-accounts add-iam-policy-binding)")
}
