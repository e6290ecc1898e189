package aws_test

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/auth/aws"
	"github.com/quaymaster/quaymaster/internal/cloudsim"
	"github.com/quaymaster/quaymaster/internal/cloudsim/awssim"
	"github.com/quaymaster/quaymaster/test/sealing"
)

// keyed is a world with KMS, over TLS, and a key that the instance's role may use.
type keyed struct {
	*world
	kms         *awssim.KMS
	permissions *awssim.Permissions
	key         string
}

func newKeyed(t *testing.T) *keyed {
	t.Helper()
	w := newWorld(t)
	k := &keyed{world: w, permissions: &awssim.Permissions{}}
	k.kms = awssim.NewKMS(w.account, "eu-west-1", k.permissions)
	k.key = k.kms.AddKey("alias/boot")
	k.permissions.Allow(w.account.RoleARN("docker-host"), "kms:*crypt", k.key)
	authority, err := cloudsim.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	server, err := cloudsim.Start(awssim.Regions{"eu-west-1": k.kms}, cloudsim.Options{Authority: authority})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	bundle := filepath.Join(t.TempDir(), "authority.pem")
	if err := os.WriteFile(bundle, authority.PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_CA_BUNDLE", bundle)
	t.Setenv("AWS_ENDPOINT_URL_KMS", server.URL())
	return k
}

func (k *keyed) sealer(t *testing.T, o aws.SealerOptions) *aws.Sealer {
	t.Helper()
	if o.Host == "" {
		o.Host = "i-0123456789abcdef0"
	}
	if o.Key == "" {
		o.Key = k.key
	}
	s, err := aws.NewSealer(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// strikes are ways of KMS to fail, with what a careless client would pass on.
func strikes(f *cloudsim.Faults, faults map[string]cloudsim.Fault) map[string]func() func() {
	ways := map[string]func() func(){}
	for name, fault := range faults {
		ways[name] = func() func() {
			f.Set("", fault)
			return func() { f.Clear("") }
		}
	}
	return ways
}

func TestKMSIsASealer(t *testing.T) {
	k := newKeyed(t)
	in := func(state string) func() func() {
		return func() func() {
			k.kms.SetState(k.key, state)
			return func() { k.kms.SetState(k.key, awssim.KeyEnabled) }
		}
	}
	broken := strikes(&k.kms.Faults, map[string]cloudsim.Fault{
		"down": {Reset: true}, "throttled": awssim.JSONThrottled, "failing": awssim.JSONFailing,
		"not AWS": {Status: http.StatusOK, Body: "<html>\nhello"}, "a proxy": {Status: http.StatusForbidden, Body: "<html>no"},
		"empty": {Status: http.StatusOK, Body: "{}"}, "endless": endless,
	})
	broken["key store away"] = in(awssim.KeyUnavailable)
	sealing.Run(t, sealing.World{
		Sealer: k.sealer(t, aws.SealerOptions{}), Other: k.sealer(t, aws.SealerOptions{Host: "i-other"}), Break: broken,
		Deny: map[string]func() func(){
			"disabled": in(awssim.KeyDisabled), "pending deletion": in(awssim.KeyPendingDeletion),
			"key policy": func() func() {
				k.kms.SetPolicy(k.key, k.account.RoleARN("docker-host")+"2")
				return func() { k.kms.SetPolicy(k.key) }
			},
		},
	})
}

// endless is an answer that would do, but for its size.
var endless = cloudsim.Fault{Status: http.StatusOK, Body: `{"CiphertextBlob":"b2s=","KeyId":"` + strings.Repeat("x", 1<<20) + `"}`}

func TestKMSAnswerTooLarge(t *testing.T) {
	k := newKeyed(t)
	k.kms.Set("", endless)
	_, err := k.sealer(t, aws.SealerOptions{}).Seal(t.Context(), []byte("key"))
	if !errors.Is(err, auth.ErrSealUnavailable) || !strings.Contains(err.Error(), "the answer is larger than 64 KiB") || len(err.Error()) > 500 {
		t.Error(err)
	}
}

func TestKMSSaysWhatToDo(t *testing.T) {
	k := newKeyed(t)
	other := k.kms.AddKey("alias/other")
	for want, s := range map[string]*aws.Sealer{
		"docker-host/i-0123456789abcdef0: allow kms:Encrypt in the role's policy": k.sealer(t, aws.SealerOptions{Key: other}),
		"no such key in region eu-west-1":                                         k.sealer(t, aws.SealerOptions{Key: "alias/none"}),
	} {
		if _, err := s.Seal(t.Context(), []byte("key")); !errors.Is(err, auth.ErrSealRefused) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	k.permissions.Deny(k.account.RoleARN("docker-host"), "kms:Encrypt", "*")
	if _, err := k.sealer(t, aws.SealerOptions{}).Seal(t.Context(), []byte("key")); !strings.Contains(err.Error(), "denies it explicitly") {
		t.Error(err)
	}
	k.imds.SetRole("")
	if _, err := k.sealer(t, aws.SealerOptions{}).Seal(t.Context(), []byte("key")); !errors.Is(err, auth.ErrSealRefused) || !strings.Contains(err.Error(), "no IAM role") {
		t.Error(err)
	}
	k.imds.Set("", cloudsim.Fault{Status: http.StatusServiceUnavailable})
	for _, o := range []aws.SealerOptions{{}, {Key: "alias/boot"}} {
		if _, err := k.sealer(t, o).Seal(t.Context(), []byte("key")); !errors.Is(err, auth.ErrSealUnavailable) || errors.Is(err, auth.ErrSealRefused) {
			t.Error(err)
		}
	}
}

// What one name of the key sealed, another opens; the role's keys that AWS does
// not take any more are replaced for the next try.
func TestKMSKeyByAnyName(t *testing.T) {
	k := newKeyed(t)
	byARN := k.sealer(t, aws.SealerOptions{})
	sealed, err := byARN.Seal(t.Context(), []byte("key"))
	if err != nil {
		t.Fatal(err)
	}
	id := k.key[strings.LastIndex(k.key, "/")+1:]
	for _, o := range []aws.SealerOptions{{Key: "alias/boot"}, {Key: id}, {Key: id, Region: "eu-west-1"}} {
		if opened, err := k.sealer(t, o).Unseal(t.Context(), sealed); err != nil || string(opened) != "key" {
			t.Errorf("%v: %v", o, err)
		}
	}
	if _, err := k.sealer(t, aws.SealerOptions{Key: k.kms.AddKey("")}).Unseal(t.Context(), sealed); !errors.Is(err, auth.ErrNotSealedHere) {
		t.Error(err)
	}
	k.kms.Set("", cloudsim.Fault{Status: http.StatusBadRequest, Body: `{"__type":"ExpiredTokenException"}`, Times: 1})
	asked := k.imds.Count("GET", "/latest/meta-data/iam/security-credentials/docker-host")
	if _, err := byARN.Unseal(t.Context(), sealed); !errors.Is(err, auth.ErrSealUnavailable) {
		t.Error(err)
	}
	if _, err := byARN.Unseal(t.Context(), sealed); err != nil || k.imds.Count("GET", "/latest/meta-data/iam/security-credentials/docker-host") != asked+1 {
		t.Error(err)
	}
}

func TestSealerOptions(t *testing.T) {
	clearVariables(t)
	for want, o := range map[string]aws.SealerOptions{
		"write its ARN":         {Key: "no key!", Host: "h"},
		"no name":               {Key: "alias/boot"},
		"write a region of AWS": {Key: "alias/boot", Host: "h", Region: "here"},
		"not in region":         {Key: "arn:aws:kms:eu-west-1:111122223333:key/1", Host: "h", Region: "eu-west-2"},
	} {
		if _, err := aws.NewSealer(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}
