package aws

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/auth/endpoint"
	"github.com/quaymaster/quaymaster/broker/secret"
)

const (
	globalRegion = "us-east-1" // the region that the global endpoint signs for
	callerQuery  = "Action=GetCallerIdentity&Version=2011-06-15"
	serverHeader = "X-Vault-AWS-IAM-Server-ID"
)

// target is the STS that a request is signed for.
type target struct {
	url, region string
	given       bool // the address was given; it is not the SDK's own for the region
}

// chosenTarget is what options and the SDK's variables ask for: the region's
// own address unless another is given.
func chosenTarget(o Options, getenv func(string) string) (target, error) {
	address, setting := o.STSEndpoint, "vault.sts_endpoint"
	if address == "" {
		address, setting = getenv("AWS_ENDPOINT_URL_STS"), "AWS_ENDPOINT_URL_STS"
	}
	if address == "" {
		return regionalTarget(cmp.Or(o.STSRegion, globalRegion), getenv)
	}
	u, err := endpoint.Parse(address)
	if err != nil {
		return target{}, fmt.Errorf("%s: %w", setting, err)
	}
	if u.Path == "" {
		u.Path = "/"
	}
	t := target{url: u.String(), given: true, region: cmp.Or(o.STSRegion, regionIn(u.Hostname()), globalRegion)}
	if !looksLikeRegion(t.region) {
		return target{}, badRegion(o.STSRegion)
	}
	return t, nil
}

// regionalTarget is the SDK's own answer for a region in whichever partition it
// lies. The global endpoint stands for us-east-1, unless FIPS or dual stack is
// asked for, which it has not.
func regionalTarget(region string, getenv func(string) string) (target, error) {
	if !looksLikeRegion(region) {
		return target{}, badRegion(region)
	}
	fips, err := boolean("AWS_USE_FIPS_ENDPOINT", getenv)
	if err != nil {
		return target{}, err
	}
	dual, err := boolean("AWS_USE_DUALSTACK_ENDPOINT", getenv)
	if err != nil {
		return target{}, err
	}
	found, err := sts.NewDefaultEndpointResolverV2().ResolveEndpoint(context.Background(), sts.EndpointParameters{
		Region: &region, UseFIPS: &fips, UseDualStack: &dual, UseGlobalEndpoint: sdk.Bool(region == globalRegion && !fips && !dual),
	})
	if err != nil {
		return target{}, fmt.Errorf("the STS endpoint of region %q: %w", region, err)
	}
	found.URI.Path = cmp.Or(found.URI.Path, "/")
	return target{url: found.URI.String(), region: region}, nil
}

func badRegion(region string) error {
	return fmt.Errorf("vault.sts_region %q: write a region of AWS, as in eu-west-1", region)
}

// boolean reads one of the SDK's variables, as strictly as the SDK does.
func boolean(name string, getenv func(string) string) (bool, error) {
	switch value := getenv(name); strings.ToLower(value) {
	case "true":
		return true, nil
	case "", "false":
		return false, nil
	default:
		return false, fmt.Errorf("%s %q: write true or false", name, value)
	}
}

// signedLogin signs GetCallerIdentity with keys and packs the request as
// Vault's aws auth method wants it. The role is for the one who logs in to add.
func signedLogin(ctx context.Context, to target, keys sdk.Credentials, serverID string, at time.Time) (map[string]secret.Value, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, to.url, strings.NewReader(callerQuery))
	if err != nil {
		return nil, fmt.Errorf("making the request for %s: %w", to.url, err)
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	if serverID != "" {
		request.Header.Set(serverHeader, serverID)
	}
	hash := sha256.Sum256([]byte(callerQuery))
	if err := v4.NewSigner().SignHTTP(ctx, keys, request, hex.EncodeToString(hash[:]), "sts", to.region, at); err != nil {
		return nil, fmt.Errorf("signing the request for %s: %w: %w", to.url, err, auth.ErrUnavailable)
	}
	headers, err := json.Marshal(request.Header)
	if err != nil {
		return nil, fmt.Errorf("packing the signed headers: %w", err)
	}
	return map[string]secret.Value{
		"iam_http_request_method": secret.NewValue([]byte(request.Method)),
		"iam_request_url":         packed([]byte(to.url)),
		"iam_request_body":        packed([]byte(callerQuery)),
		"iam_request_headers":     packed(headers),
	}, nil
}

// packed is content as Vault takes it, in base64.
func packed(content []byte) secret.Value {
	return secret.NewValue(base64.StdEncoding.AppendEncode(nil, content))
}
