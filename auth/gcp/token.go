package gcp

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/broker/secret"
)

// claims are what is read of an identity token, as "Verify the identity of VMs"
// in Compute Engine's documentation lists them. Vault verifies the token; here
// it only says who the machine is, and whether a login is worth trying.
type claims struct {
	Email   string `json:"email"`
	Expires int64  `json:"exp"`
	Google  struct {
		Instance struct {
			Name    string `json:"instance_name"`
			Zone    string `json:"zone"`
			Project string `json:"project_id"`
		} `json:"compute_engine"`
	} `json:"google"`
}

// identityToken asks for a token that names the instance, which takes
// format=full.
func (a *Attestor) identityToken(ctx context.Context, audience string) (identity, secret.Value, error) {
	limited, cancel := context.WithTimeout(ctx, attestTimeout)
	defer cancel()
	query := url.Values{"audience": {audience}, "format": {"full"}}
	server := newMetadata(a.now)
	token, err := server.ofAccount(limited, "identity?"+query.Encode())
	if err != nil {
		return identity{}, secret.Value{}, err
	}
	said, err := read(token)
	if err != nil {
		return identity{}, secret.Value{}, fmt.Errorf("the metadata server's identity token: %w: %w", err, auth.ErrUnavailable)
	}
	found := said.Google.Instance
	if found.Name == "" {
		return identity{}, secret.Value{}, fmt.Errorf("the metadata server's identity token names no instance: this is not a Compute Engine VM, or something "+
			"stands before its metadata server, as on GKE; use the login type %s: %w", IAM, auth.ErrNoIdentity)
	}
	clock := server.last.clock
	if end := time.Unix(said.Expires, 0); clock.Left(end, a.now()) <= 0 {
		return identity{}, secret.Value{}, fmt.Errorf("the metadata server hands out an identity token that ended at %s: it serves an old one%s: %w",
			end.UTC().Format(time.RFC3339), clock.Doubt(), auth.ErrUnavailable)
	}
	return identity{said.Email, found.Name, found.Zone, found.Project, clock}, secret.NewValue([]byte(token)), nil
}

// read decodes a JWT's claims and verifies nothing. Its errors hold no part of
// the token.
func read(token string) (claims, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return claims{}, errors.New("it is no JWT")
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return claims{}, errors.New("its claims are not in base64")
	}
	var said claims
	if err := json.Unmarshal(text, &said); err != nil {
		return claims{}, errors.New("its claims are not the JSON that they should be")
	}
	return said, nil
}
