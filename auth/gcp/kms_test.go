package gcp_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/auth/gcp"
	"github.com/quaymaster/quaymaster/internal/cloudsim"
	"github.com/quaymaster/quaymaster/internal/cloudsim/gcpsim"
	"github.com/quaymaster/quaymaster/test/sealing"
)

const bootKey = "projects/shop-prod/locations/europe-west1/keyRings/hosts/cryptoKeys/boot-cache"

// keyed is a world with a key that the instance's service account may use.
type keyed struct {
	*world
	kms     *gcpsim.KMS
	options gcp.SealerOptions
}

func newKeyed(t *testing.T) *keyed {
	t.Helper()
	k := &keyed{world: newWorld(t)}
	k.kms = gcpsim.NewKMS(k.cloud)
	if err := k.kms.AddKey(bootKey); err != nil {
		t.Fatal(err)
	}
	k.cloud.Grant(k.account, bootKey, gcpsim.KeyUser)
	t.Setenv("CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDKMS", serve(t, k.kms)+"/")
	k.options = gcp.SealerOptions{Tokens: k.accessTokens(t, gcp.AccessOptions{}), Key: bootKey, Host: "docker-1"}
	return k
}

func newSealer(t *testing.T, o gcp.SealerOptions) *gcp.Sealer {
	t.Helper()
	s, err := gcp.NewSealer(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestKMSIsASealer(t *testing.T) {
	k := newKeyed(t)
	other := k.options
	other.Host = "docker-2"
	broken := map[string]func() func(){}
	for name, fault := range map[string]cloudsim.Fault{
		"down": {Reset: true}, "failing": {Status: http.StatusInternalServerError}, "a proxy": {Status: http.StatusForbidden, Body: "<html>no"},
		"throttled":  {Status: http.StatusTooManyRequests, Body: `{"error":{"code":429,"status":"RESOURCE_EXHAUSTED","message":"Quota exceeded\n"}}`},
		"not Google": {Status: http.StatusOK, Body: "<html>\nhello"}, "empty": {Status: http.StatusOK, Body: "{}"},
		"redirect": {Status: http.StatusFound, Header: http.Header{"Location": {"/"}}},
	} {
		broken[name] = func() func() {
			k.kms.Set("", fault)
			return func() { k.kms.Clear("") }
		}
	}
	for _, way := range []string{gcpsim.HarmRequest, gcpsim.HarmAnswer} {
		broken["damaged "+way] = func() func() {
			k.kms.Harm(way)
			return func() { k.kms.Harm("") }
		}
	}
	in := func(state gcpsim.VersionState) func() func() {
		return func() func() {
			k.kms.SetKeyState(bootKey, state)
			return func() { k.kms.SetKeyState(bootKey, gcpsim.Enabled) }
		}
	}
	sealing.Run(t, sealing.World{
		Sealer: newSealer(t, k.options), Other: newSealer(t, other), Break: broken,
		Deny: map[string]func() func(){
			"disabled": in(gcpsim.Disabled), "destroyed": in(gcpsim.Destroyed),
			"no role": func() func() {
				k.cloud.Revoke(k.account, bootKey, gcpsim.KeyUser)
				return func() { k.cloud.Grant(k.account, bootKey, gcpsim.KeyUser) }
			},
		},
	})
}

// A token that Google took back is replaced for the next try.
func TestKMSTokenIsReplaced(t *testing.T) {
	k := newKeyed(t)
	s := newSealer(t, k.options)
	sealed, err := s.Seal(t.Context(), []byte("key"))
	if err != nil {
		t.Fatal(err)
	}
	k.cloud.RevokeTokens(k.account)
	if _, err := s.Unseal(t.Context(), sealed); !errors.Is(err, auth.ErrSealUnavailable) || !strings.Contains(err.Error(), "next try") {
		t.Error(err)
	}
	if opened, err := s.Unseal(t.Context(), sealed); err != nil || string(opened) != "key" {
		t.Error(err)
	}
}

func TestKMSSaysWhatToDo(t *testing.T) {
	k := newKeyed(t)
	other := k.options
	other.Key = strings.Replace(bootKey, "boot-cache", "none", 1)
	if _, err := newSealer(t, other).Seal(t.Context(), []byte("key")); !errors.Is(err, auth.ErrSealRefused) || !strings.Contains(err.Error(), "cryptoKeyEncrypterDecrypter") {
		t.Error(err)
	}
	k.cloud.Grant(k.account, "projects/shop-prod", gcpsim.KeyUser)
	if _, err := newSealer(t, other).Seal(t.Context(), []byte("key")); !errors.Is(err, auth.ErrSealRefused) || !strings.Contains(err.Error(), "no such key") {
		t.Error(err)
	}
	k.instance.Set("", cloudsim.Fault{Status: http.StatusServiceUnavailable})
	k.options.Tokens = k.accessTokens(t, gcp.AccessOptions{})
	if _, err := newSealer(t, k.options).Seal(t.Context(), []byte("key")); !errors.Is(err, auth.ErrSealUnavailable) || errors.Is(err, auth.ErrUnavailable) {
		t.Error(err)
	}
	for want, o := range map[string]gcp.SealerOptions{
		"needs access tokens":           {Key: bootKey, Host: "h"},
		"no name":                       {Key: bootKey, Tokens: k.options.Tokens},
		"write it as projects/":         {Key: bootKey + "/cryptoKeyVersions/1", Host: "h", Tokens: k.options.Tokens},
		"CLOUDKMS): tokens would cross": {Key: bootKey, Host: "h", Tokens: k.options.Tokens, Endpoint: "http://kms.example"},
	} {
		if _, err := gcp.NewSealer(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}
