package azuresim_test

import (
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"io"
	"math/big"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"go.uber.org/goleak"

	"github.com/quaymaster/quaymaster/internal/cloudsim"
	"github.com/quaymaster/quaymaster/internal/cloudsim/azuresim"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	tenantID     = "11111111-2222-3333-4444-555555555555"
	otherTenant  = "99999999-2222-3333-4444-555555555555"
	subscription = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
	clientID     = "77777777-2222-3333-4444-555555555555"
	secret       = "vault's own"
	manager      = "https://management.azure.com/"
	group        = "/subscriptions/" + subscription + "/resourceGroups/shop"
	compute      = group + "/providers/Microsoft.Compute/"
	tokenURL     = "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=" + manager
)

// clock stands still until it is moved.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) move(by time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(by)
}

// world is a cloud that is reached by its real names.
type world struct {
	clock  *clock
	cloud  *azuresim.Cloud
	tenant *azuresim.Tenant
	client *http.Client // goes through a proxy that leads to the cloud
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{clock: &clock{at: time.Now().Truncate(time.Second)}}
	var err error
	if w.cloud, err = azuresim.NewCloud(cloudsim.NewEnvironment(w.clock.now, nil)); err != nil {
		t.Fatal(err)
	}
	w.tenant = w.cloud.AddTenant(tenantID)
	w.tenant.AddApplication(clientID, secret)
	authority, err := cloudsim.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	trust := x509.NewCertPool()
	trust.AppendCertsFromPEM(authority.PEM())
	at := start(t, w.cloud, cloudsim.Options{Authority: authority, Names: azuresim.Hosts})
	proxy, err := url.Parse(start(t, cloudsim.Proxy{To: strings.TrimPrefix(at, "https://")}, cloudsim.Options{}))
	if err != nil {
		t.Fatal(err)
	}
	w.client = &http.Client{Transport: &http.Transport{Proxy: http.ProxyURL(proxy), TLSClientConfig: &tls.Config{RootCAs: trust}, DisableKeepAlives: true}}
	return w
}

func start(t *testing.T, handler http.Handler, o cloudsim.Options) (url string) {
	t.Helper()
	server, err := cloudsim.Start(handler, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	return server.URL()
}

// machine is one in the group shop.
func machine(name string, identities ...azuresim.Identity) azuresim.Machine {
	return azuresim.Machine{Subscription: subscription, ResourceGroup: "shop", Name: name, Location: "westeurope", UserAssigned: identities}
}

// do returns status and body of an answer.
func do(t *testing.T, client *http.Client, method, url string, headers ...string) (int, map[string]any) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	var document map[string]any
	json.Unmarshal(content, &document) // what is no JSON has no fields
	return response.StatusCode, document
}

// local keeps no connections, so there is nothing left when a test ends.
func local() *http.Client {
	return &http.Client{Transport: &http.Transport{Proxy: nil, DisableKeepAlives: true}}
}

// moved sends requests for the link-local address elsewhere.
type moved struct{ to string }

func (m moved) Do(request *http.Request) (*http.Response, error) {
	request = request.Clone(request.Context())
	request.URL.Host, request.Host = strings.TrimPrefix(m.to, "http://"), ""
	return local().Do(request)
}

// managed asks for a token by Microsoft's own client. Claims keep it from
// answering from its cache.
func managed(t *testing.T, endpoint string, id azidentity.ManagedIDKind, resource string) (azcore.AccessToken, error) {
	t.Helper()
	credential, err := azidentity.NewManagedIdentityCredential(&azidentity.ManagedIdentityCredentialOptions{
		ID: id, ClientOptions: azcore.ClientOptions{Transport: moved{endpoint}, Retry: policy.RetryOptions{MaxRetries: -1}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return credential.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{resource}, Claims: "{}"})
}

// application logs in by Microsoft's own client, which asks for discovery first.
func (w *world) application(ctx context.Context, tenant, id, secret string) (azcore.AccessToken, error) {
	credential, err := azidentity.NewClientSecretCredential(tenant, id, secret, &azidentity.ClientSecretCredentialOptions{
		ClientOptions: azcore.ClientOptions{Transport: w.client, Retry: policy.RetryOptions{MaxRetries: -1}},
	})
	if err != nil {
		return azcore.AccessToken{}, err
	}
	return credential.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{"https://management.core.windows.net//.default"}})
}

// verified returns the claims of a token whose signature a stranger can verify
// with nothing but the tenant's discovery document.
func (w *world) verified(t *testing.T, token string) map[string]any {
	t.Helper()
	_, discovered := do(t, w.client, "GET", "https://login.microsoftonline.com/"+tenantID+"/.well-known/openid-configuration")
	keysURL, _ := discovered["jwks_uri"].(string)
	_, keys := do(t, w.client, "GET", keysURL)
	first := keys["keys"].([]any)[0].(map[string]any)
	number := func(name string) *big.Int { return new(big.Int).SetBytes(decoded(t, first[name].(string))) }
	parts := strings.Split(token, ".")
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	key := &rsa.PublicKey{N: number("n"), E: int(number("e").Int64())}
	if err := rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], decoded(t, parts[2])); err != nil {
		t.Errorf("the signature: %v", err)
	}
	var header, claims map[string]any
	if json.Unmarshal(decoded(t, parts[0]), &header) != nil || header["alg"] != "RS256" || header["kid"] != first["kid"] {
		t.Errorf("the header is %v, the key %v", header, first["kid"])
	}
	if err := json.Unmarshal(decoded(t, parts[1]), &claims); err != nil || claims["iss"] != discovered["issuer"] {
		t.Errorf("%v issued by %v: %v", claims, discovered["issuer"], err)
	}
	return claims
}

func decoded(t *testing.T, part string) []byte {
	t.Helper()
	content, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		t.Fatal(err)
	}
	return content
}
