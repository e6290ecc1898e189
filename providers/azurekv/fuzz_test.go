package azurekv

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/providers"
)

// Whatever a vault keeps, and whatever type it says that it is, taking it apart
// does not panic, and what cannot be taken apart is not repeated.
func FuzzFields(f *testing.F) {
	f.Add("-----BEGIN CERTIFICATE-----\nMAo=\n-----END CERTIFICATE-----\n", pemType)
	f.Add("MIIBAgEBMIIB", pfxType)
	f.Add(`{"a":"b","c":[1]}`, jsonType)
	f.Fuzz(func(t *testing.T, value, kind string) {
		fields, err := fieldsOf(value, &kind)
		if (err == nil) == (len(fields) == 0) {
			t.Errorf("%d fields and %v", len(fields), err)
		}
		if err != nil && len(value) > 8 && strings.Contains(err.Error(), value) {
			t.Errorf("%q is in: %v", value, err)
		}
		for name, field := range fields {
			if name == providers.OnlyField && len(fields) == 1 && kind == "" && string(field.Reveal()) != value { // to compare
				t.Errorf("%q became %q", value, field.Reveal())
			}
		}
	})
}

// Whatever challenge a server sends, Microsoft's client, which panics at some,
// gets only those that it can read.
func FuzzChallenge(f *testing.F) {
	f.Add(`Bearer authorization="https://login.microsoftonline.com/tenant", resource="https://vault.azure.net"`)
	f.Add(`Bearer authorization="x" resource="https://vault.azure.net"`)
	f.Add(`Bearer error="insufficient_claims", claims="!"`)
	f.Fuzz(func(t *testing.T, challenge string) {
		answers := challenger(challenge)
		provider, err := New(Options{Credential: nobody{}})
		if err != nil {
			t.Fatal(err)
		}
		provider.http.Client.Transport = answers
		if found, err := provider.Fetch(t.Context(), secret.Ref{Provider: "azure", Path: "shop-kv/one"}); err == nil {
			t.Errorf("%q: %v", challenge, found)
		}
	})
}

// challenger answers every request with a challenge.
type challenger string

func (c challenger) RoundTrip(request *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusUnauthorized, Header: http.Header{"Www-Authenticate": {string(c)}}, Body: http.NoBody, Request: request}, nil
}

// nobody has a token that nobody accepts.
type nobody struct{}

func (nobody) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{Token: "none", ExpiresOn: time.Now().Add(time.Hour)}, nil
}
