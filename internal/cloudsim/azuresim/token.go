package azuresim

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"github.com/quaymaster/quaymaster/internal/cloudsim"
)

// claims are those of a v1.0 access token for an application or a managed
// identity ("Access token claims reference", "Managed identities FAQ").
type claims struct {
	Audience    string `json:"aud"`
	Issuer      string `json:"iss"`
	IssuedAt    int64  `json:"iat"`
	NotBefore   int64  `json:"nbf"`
	Expires     int64  `json:"exp"`
	ClientID    string `json:"appid"`
	ClientProof string `json:"appidacr"` // "1": a secret; "2": a certificate, as managed identities have it
	IDProvider  string `json:"idp"`
	Kind        string `json:"idtyp"`
	PrincipalID string `json:"oid"`
	Subject     string `json:"sub"`
	TenantID    string `json:"tid"`
	TokenID     string `json:"uti"`
	Version     string `json:"ver"`
	MachineID   string `json:"xms_az_rid,omitempty"` // where a user-assigned identity is used
	IdentityID  string `json:"xms_mirid,omitempty"`
}

func (t *Tenant) issuer() string { return "https://" + t.cloud.place.issuer + "/" + t.id + "/" }

// newClaims are for identity at audience. They have no times yet.
func (t *Tenant) newClaims(audience string, clientID, principalID, proof string) claims {
	return claims{
		Audience: audience, Issuer: t.issuer(), IDProvider: t.issuer(), TenantID: t.id,
		ClientID: clientID, ClientProof: proof, PrincipalID: principalID, Subject: principalID, Kind: "app",
		TokenID: t.cloud.env.Text(cloudsim.Alphanum, 22), Version: "1.0",
	}
}

// sign makes a token.
func (c *Cloud) sign(content claims) (string, error) {
	header := map[string]string{"typ": "JWT", "alg": "RS256", "x5t": c.keyID, "kid": c.keyID}
	signed := part(header) + "." + part(content)
	sum := sha256.Sum256([]byte(signed))
	signature, err := rsa.SignPKCS1v15(rand.Reader, c.key, crypto.SHA256, sum[:])
	if err != nil {
		return "", fmt.Errorf("signing a token: %w", err)
	}
	return signed + "." + base64.RawURLEncoding.EncodeToString(signature), nil
}

// part is one part of a token.
func part(content any) string {
	encoded, _ := json.Marshal(content) // structs and maps of strings always encode
	return base64.RawURLEncoding.EncodeToString(encoded)
}

var errToken = errors.New("invalid token")

// verify checks that a token was issued for one of audiences and lives.
func (c *Cloud) verify(token string, audiences ...string) (claims, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return claims{}, fmt.Errorf("%w: it has %d parts", errToken, len(parts))
	}
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if err != nil || rsa.VerifyPKCS1v15(&c.key.PublicKey, crypto.SHA256, sum[:], signature) != nil {
		return claims{}, fmt.Errorf("%w: its signature", errToken)
	}
	content, err := base64.RawURLEncoding.DecodeString(parts[1])
	var found claims
	if err != nil || json.Unmarshal(content, &found) != nil {
		return claims{}, fmt.Errorf("%w: its claims", errToken)
	}
	now := c.env.Now().Unix()
	if !slices.Contains(audiences, found.Audience) || now < found.NotBefore || now >= found.Expires {
		return claims{}, fmt.Errorf("%w: its audience or time", errToken)
	}
	return found, nil
}

// keySet is the public key as JSON Web Key Set (RFC 7517).
func (c *Cloud) keySet() any {
	exponent := big.NewInt(int64(c.key.E)).Bytes()
	return map[string]any{"keys": []map[string]string{{
		"kty": "RSA", "use": "sig", "kid": c.keyID, "x5t": c.keyID,
		"n": base64.RawURLEncoding.EncodeToString(c.key.N.Bytes()), "e": base64.RawURLEncoding.EncodeToString(exponent),
	}}}
}
