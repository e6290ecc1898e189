package aws

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/broker/secret"
)

const (
	globalRegion = "us-east-1" // the region that the global endpoint signs for
	callerQuery  = "Action=GetCallerIdentity&Version=2011-06-15"
	serverHeader = "X-Vault-AWS-IAM-Server-ID"
)

// stsEndpoint is the URL to sign for: override, or the SDK's own answer for
// region in whichever partition it lies.
func stsEndpoint(region, override string) (string, error) {
	if override == "" {
		found, err := sts.NewDefaultEndpointResolverV2().ResolveEndpoint(context.Background(), sts.EndpointParameters{
			Region: sdk.String(region), UseGlobalEndpoint: sdk.Bool(region == globalRegion),
		})
		if err != nil {
			return "", fmt.Errorf("the STS region %q: %w", region, err)
		}
		override = found.URI.String()
	}
	u, err := url.Parse(override)
	if err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") {
		return "", fmt.Errorf("AWS_ENDPOINT_URL_STS %q: write it as https://host", override)
	}
	if u.Path == "" {
		u.Path = "/"
	}
	return u.String(), nil
}

// signedLogin signs GetCallerIdentity with keys and packs the request as
// Vault's aws auth method wants it. The role is for the one who logs in to add.
func (a *Attestor) signedLogin(ctx context.Context, keys sdk.Credentials, serverID string) (map[string]secret.Value, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, a.endpoint, strings.NewReader(callerQuery))
	if err != nil {
		return nil, fmt.Errorf("making the request for %s: %w", a.endpoint, err)
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	if serverID != "" {
		request.Header.Set(serverHeader, serverID)
	}
	hash := sha256.Sum256([]byte(callerQuery))
	if err := v4.NewSigner().SignHTTP(ctx, keys, request, hex.EncodeToString(hash[:]), "sts", a.region, a.now()); err != nil {
		return nil, fmt.Errorf("signing the request for %s: %w: %w", a.endpoint, err, auth.ErrUnavailable)
	}
	headers, err := json.Marshal(request.Header)
	if err != nil {
		return nil, fmt.Errorf("packing the signed headers: %w", err)
	}
	return map[string]secret.Value{
		"iam_http_request_method": secret.NewValue([]byte(request.Method)),
		"iam_request_url":         packed([]byte(a.endpoint)),
		"iam_request_body":        packed([]byte(callerQuery)),
		"iam_request_headers":     packed(headers),
	}, nil
}

// packed is content as Vault takes it, in base64.
func packed(content []byte) secret.Value {
	return secret.NewValue(base64.StdEncoding.AppendEncode(nil, content))
}
