package azure_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/auth/azure"
	"github.com/quaymaster/quaymaster/internal/cloudsim"
	"github.com/quaymaster/quaymaster/internal/cloudsim/azuresim"
)

const keyVaultScope = "https://vault.azure.net/.default"

// held is a credential on a machine, and the clock that it goes by.
type held struct {
	*azure.Credential
	service *azuresim.IMDS
	mu      sync.Mutex
	now     time.Time
}

func newCredential(t *testing.T) *held {
	t.Helper()
	h := &held{service: newTenant(t).AddMachine(web1), now: time.Now()}
	h.Credential = credentialAt(t, serve(t, h.service, cloudsim.Options{}), h.clock)
	return h
}

func credentialAt(t *testing.T, endpoint string, now func() time.Time) *azure.Credential {
	t.Helper()
	credential, err := azure.HostCredential(azure.Options{Endpoint: endpoint, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	return credential
}

func (h *held) clock() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.now
}

func (h *held) move(by time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.now = h.now.Add(by)
}

// gets asks for a token and says how many the service was asked for in all.
func (h *held) gets(t *testing.T, o policy.TokenRequestOptions) (token string, asked int) {
	t.Helper()
	found, err := h.GetToken(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return found.Token, h.service.Count("GET", azuresim.TokenPath)
}

func scope(s string) policy.TokenRequestOptions {
	return policy.TokenRequestOptions{Scopes: []string{s}}
}

func TestCredentialHoldsTokens(t *testing.T) {
	h := newCredential(t)
	first, _ := h.gets(t, scope(keyVaultScope))
	if again, asked := h.gets(t, scope(keyVaultScope)); again != first || asked != 1 {
		t.Errorf("a token that is held was asked for again (%d)", asked)
	}
	if other, asked := h.gets(t, scope(manager)); other == first || asked != 2 {
		t.Errorf("one token for two audiences (%d)", asked)
	}
	refused := scope(keyVaultScope)
	refused.Claims = "{}"
	if again, asked := h.gets(t, refused); again != first || asked != 2 {
		t.Errorf("a token that is new was asked for again (%d)", asked)
	}
	h.move(31 * time.Second)
	second, asked := h.gets(t, refused)
	if again, _ := h.gets(t, scope(keyVaultScope)); second == first || asked != 3 || again != second {
		t.Errorf("a token that was refused is handed out again (%d)", asked)
	}
	h.move(24*time.Hour - 12*time.Minute)
	if again, asked := h.gets(t, scope(keyVaultScope)); again != second || asked != 3 {
		t.Errorf("more than 11 minutes before its end it was replaced (%d)", asked)
	}
	h.service.SetSkew(24 * time.Hour)
	h.move(2 * time.Minute)
	if third, asked := h.gets(t, scope(keyVaultScope)); third == second || asked != 4 {
		t.Errorf("9 minutes before its end it was not replaced (%d)", asked)
	}
}

// A token near its end is used while it cannot be replaced, and the service is
// not asked at every turn. One that has ended, or was refused, is not used.
func TestCredentialWhileTheServiceFails(t *testing.T) {
	h := newCredential(t)
	first, _ := h.gets(t, scope(keyVaultScope))
	h.move(24*time.Hour - 5*time.Minute)
	h.service.Set(azuresim.TokenPath, azuresim.Throttled)
	for _, step := range []struct {
		by    time.Duration
		asked int
	}{{0, 2}, {0, 2}, {29 * time.Second, 2}, {2 * time.Second, 3}} {
		h.move(step.by)
		if again, asked := h.gets(t, scope(keyVaultScope)); again != first || asked != step.asked {
			t.Errorf("after %v the service was asked %d times, want %d", step.by, asked, step.asked)
		}
	}
	refused := scope(keyVaultScope)
	refused.Claims = "{}"
	_, err := h.GetToken(t.Context(), refused)
	wantError(t, err, auth.ErrUnavailable, "it limits requests (429)")
	h.move(5 * time.Minute)
	_, err = h.GetToken(t.Context(), scope(keyVaultScope))
	wantError(t, err, auth.ErrUnavailable, "getting a token of the managed identity", "it limits requests (429)")
}

func TestCredentialSaysWhatIsWrong(t *testing.T) {
	h := newCredential(t)
	_, err := h.GetToken(t.Context(), scope("vault"))
	wantError(t, err, auth.ErrNoIdentity, "for vault: ", "Entra ID knows no such audience (")
	_, err = h.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{manager, keyVaultScope}})
	wantError(t, err, auth.ErrNoIdentity, "for one scope, not 2")
	h.service.SetIdentities()
	_, err = h.GetToken(t.Context(), scope(keyVaultScope))
	wantError(t, err, auth.ErrNoIdentity, "this VM has no managed identity")
	if _, err := azure.HostCredential(azure.Options{ClientID: "deploy"}); err == nil || !strings.Contains(err.Error(), `the client ID "deploy"`) {
		t.Error(err)
	}
}

// door lets requests in one by one.
type door struct {
	http.Handler
	arrived, open chan struct{}
}

func (d *door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d.arrived <- struct{}{}
	<-d.open
	d.Handler.ServeHTTP(w, r)
}

// Those who want a token together share one request. One who gives up goes at
// once; when that is who asked, another asks.
func TestCredentialIsSharedByThoseWhoWait(t *testing.T) {
	service := newTenant(t).AddMachine(web1)
	d := &door{service, make(chan struct{}), make(chan struct{})}
	credential := credentialAt(t, serve(t, d, cloudsim.Options{}), nil)
	type result struct {
		token string
		err   error
	}
	ask := func(ctx context.Context, results chan result) {
		token, err := credential.GetToken(ctx, scope(keyVaultScope))
		results <- result{token.Token, err}
	}
	first, impatient, others := make(chan result), make(chan result), make(chan result)
	leading, giveUp := context.WithCancel(t.Context())
	go ask(leading, first)
	<-d.arrived // the first has asked
	waiting, leave := context.WithCancel(t.Context())
	go ask(waiting, impatient)
	const n = 20
	for range n {
		go ask(t.Context(), others)
	}
	leave()
	wantError(t, (<-impatient).err, auth.ErrUnavailable, "waiting for a token of the managed identity: context canceled")
	giveUp()
	gaveUp := (<-first).err
	wantError(t, gaveUp, auth.ErrUnavailable, "given up")
	wantError(t, gaveUp, context.Canceled)
	d.open <- struct{}{}
	<-d.arrived // another has asked
	d.open <- struct{}{}
	tokens := map[string]bool{}
	for range n {
		r := <-others
		if r.err != nil {
			t.Error(r.err)
		}
		tokens[r.token] = true
	}
	if len(tokens) != 1 {
		t.Errorf("%d tokens for %d who waited together", len(tokens), n)
	}
}

func TestCredentialKnowsItsCloud(t *testing.T) {
	tenant := newTenant(t)
	for cloud, want := range map[string]string{
		"AzurePublicCloud": "vault.azure.net", "AzureUSGovernmentCloud": "vault.usgovcloudapi.net",
		"AzureChinaCloud": "vault.azure.cn", "AzureOfTomorrow": "vault.azure.net",
	} {
		machine := web1
		machine.Environment = cloud
		service := tenant.AddMachine(machine)
		credential := credentialAt(t, serve(t, service, cloudsim.Options{}), nil)
		service.Set("", azuresim.Updating)
		_, err := credential.KeyVaults(t.Context())
		wantError(t, err, auth.ErrUnavailable, "reading the instance metadata", "being updated (410)")
		service.Clear("")
		for range 2 {
			if got, err := credential.KeyVaults(t.Context()); got != want || err != nil {
				t.Errorf("%s: %s, %v", cloud, got, err)
			}
		}
		if n := service.Count("GET", azuresim.InstancePath); n != 2 {
			t.Errorf("%s: asked %d times", cloud, n)
		}
	}
}

func TestCredentialDoesNotPrint(t *testing.T) {
	h := newCredential(t)
	token, _ := h.gets(t, scope(keyVaultScope))
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if printed := fmt.Sprintf(verb, h.Credential); strings.Contains(printed, token[:40]) || strings.Contains(printed, "eyJ") {
			t.Errorf("%s prints a token", verb)
		}
	}
}
