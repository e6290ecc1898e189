package vaultsim_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/hashicorp/vault/api"

	"github.com/quaymaster/quaymaster/internal/cloudsim"
	"github.com/quaymaster/quaymaster/internal/cloudsim/vaultsim"
)

func TestSealing(t *testing.T) {
	w := newWorld(t)
	_, client := w.login(t, "docker-host")
	w.vault.SetSealed(true)
	if _, err := client.Logical().ReadWithContext(t.Context(), "kv/data/shop/db"); status(err) != 503 || !strings.Contains(err.Error(), "Vault is sealed") {
		t.Errorf("%v", err)
	}
	if health, err := client.Sys().HealthWithContext(t.Context()); err != nil || !health.Sealed || !health.Initialized {
		t.Errorf("%+v, %v", health, err)
	}
	w.vault.SetSealed(false)
	if _, err := client.Logical().ReadWithContext(t.Context(), "kv/data/shop/db"); err != nil {
		t.Error(err)
	}
	if health, err := client.Sys().HealthWithContext(t.Context()); err != nil || health.Sealed || health.ClusterName == "" {
		t.Errorf("%+v, %v", health, err)
	}
}

func TestFaults(t *testing.T) {
	w := newWorld(t)
	_, client := w.login(t, "docker-host")
	for name, test := range map[string]struct {
		fault cloudsim.Fault
		is    func(error) bool
	}{
		"failing": {vaultsim.Failing, func(err error) bool { return status(err) == 500 }},
		"limited": {vaultsim.RateLimited(7), func(err error) bool { return status(err) == 429 }},
		"foreign": {vaultsim.Foreign, func(err error) bool { return status(err) == 502 && strings.Contains(err.Error(), "Bad Gateway") }},
		"garbage": {vaultsim.Garbage, func(err error) bool { return errors.Is(err, io.ErrUnexpectedEOF) }},
		"cut":     {cloudsim.Fault{Reset: true}, func(err error) bool { return errors.Is(err, syscall.ECONNRESET) }},
	} {
		w.vault.Set("kv/", test.fault)
		if _, err := client.Logical().ReadWithContext(t.Context(), "kv/data/shop/db"); !test.is(err) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := client.Logical().ReadWithContext(t.Context(), "old/shop/db"); err != nil {
			t.Errorf("%s: another path: %v", name, err)
		}
		w.vault.Clear("kv/")
	}
	if _, err := client.Logical().ReadWithContext(t.Context(), "kv/data/shop/db"); err != nil {
		t.Error(err)
	}
}

func TestRequestsThatMakeNoSense(t *testing.T) {
	w := newWorld(t)
	for name, test := range map[string]struct {
		method, path, body string
		want               int
	}{
		"not the API":    {"GET", "/ui/", "", 404},
		"not JSON":       {"POST", "/v1/kv/data/shop/db", "{", 400},
		"a bad method":   {"PATCH", "/v1/kv/data/shop/db", "{}", 405},
		"a large body":   {"POST", "/v1/kv/data/shop/db", `{"data":{"a":"` + strings.Repeat("x", 32<<20) + `"}}`, 413},
		"other metadata": {"DELETE", "/v1/kv/metadata/shop/db", "", 405},
	} {
		request, err := http.NewRequestWithContext(t.Context(), test.method, w.url+test.path, strings.NewReader(test.body))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Authorization", "Bearer "+w.vault.RootToken())
		response, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(request)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		response.Body.Close()
		if response.StatusCode != test.want {
			t.Errorf("%s: %d", name, response.StatusCode)
		}
	}
}

func TestTLS(t *testing.T) {
	w := newWorld(t)
	authority, err := cloudsim.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	server, err := cloudsim.Start(w.vault, cloudsim.Options{Authority: authority})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	health := func(trust []byte) error {
		config := api.DefaultConfig()
		config.Address, config.MaxRetries = server.URL(), 0
		if err := config.ConfigureTLS(&api.TLSConfig{CACertBytes: trust}); err != nil {
			t.Fatal(err)
		}
		defer config.HttpClient.CloseIdleConnections()
		client, err := api.NewClient(config)
		if err != nil {
			t.Fatal(err)
		}
		_, err = client.Sys().HealthWithContext(t.Context())
		return err
	}
	if err := health(authority.PEM()); err != nil {
		t.Error(err)
	}
	other, err := cloudsim.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	if err := health(other.PEM()); err == nil || !strings.Contains(err.Error(), "unknown authority") {
		t.Errorf("another authority: %v", err)
	}
}
