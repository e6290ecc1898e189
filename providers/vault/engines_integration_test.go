//go:build integration

package vault_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/providers"
)

func TestRealVaultDecrypts(t *testing.T) {
	r := newReal(t)
	r.allow(`path "transit/decrypt/*" { capabilities = ["update"] }
		path "transit/datakey/plaintext/shop" { capabilities = ["update"] }`)
	if err := r.EnableTransit(t.Context(), "transit", "shop"); err != nil {
		t.Fatal(err)
	}
	plaintext := "\x00\xff" + mark + "\n"
	ciphertext := must[string](t)(r.Encrypt(t.Context(), "transit", "shop", []byte(plaintext)))
	ref := "vault:transit/decrypt/shop?ciphertext=" + ciphertext
	r.issues(ref, false)
	r.wants(ref, map[string]string{"plaintext": plaintext})
	if lease := r.has(ref).Lease; lease.TTL != 0 || lease.ID != "" || lease.IssuedAt.IsZero() {
		t.Errorf("lease %+v", lease)
	}
	r.fails("vault:transit/decrypt/none?ciphertext="+ciphertext, providers.ErrNotFound, "encryption key not found", "make that key")
	r.fails("vault:transit/decrypt/shop?ciphertext=vault:v1:AAAA", providers.ErrInvalid, "transit/decrypt/shop", "invalid ciphertext")
	r.fails("vault:transit/decrypt/shop", providers.ErrInvalid, "add ?ciphertext=vault:v1:")
	r.fails(ref+"@1", providers.ErrInvalid, "keeps no versions")

	// A path that the provider does not know: written to only when the ref says so.
	const key = "vault:transit/datakey/plaintext/shop"
	r.allow(`path "transit/*" { capabilities = ["read", "update"] }`)
	r.fails(key, providers.ErrInvalid, "?method=write")
	r.fails(key+"?method=delete", providers.ErrInvalid, "method=delete")
	r.issues(key+"?method=write", true)
	if got := texts(r.has(key + "?method=write&bits=256")); len(got["plaintext"]) != 44 {
		t.Errorf("a key of 256 bits has %d characters", len(got["plaintext"]))
	}
}

func TestRealVaultSSH(t *testing.T) {
	r := newReal(t)
	r.allow(`path "ssh/*" { capabilities = ["read", "update"] }`)
	ca := must[string](t)(r.EnableSSH(t.Context(), "ssh", "shop", "deploy", 30*time.Minute))
	authority, _, _, _, err := ssh.ParseAuthorizedKey([]byte(ca))
	if err != nil {
		t.Fatal(err)
	}
	checker := &ssh.CertChecker{IsUserAuthority: func(key ssh.PublicKey) bool { return string(key.Marshal()) == string(authority.Marshal()) }}
	check := func(found secret.Secret) *ssh.Certificate {
		t.Helper()
		key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(texts(found)["signed_key"]))
		if err != nil {
			t.Fatal(err)
		}
		certificate := key.(*ssh.Certificate)
		if !checker.IsUserAuthority(certificate.SignatureKey) || checker.CheckCert("deploy", certificate) != nil {
			t.Errorf("it is no certificate of the authority for deploy: %v", checker.CheckCert("deploy", certificate))
		}
		if left := found.Lease.TTL; left <= 29*time.Minute || left > 31*time.Minute || found.Lease.ID != "" || found.Lease.Renewable {
			t.Errorf("lease %+v", found.Lease)
		}
		return certificate
	}
	public, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	mine := must[ssh.PublicKey](t)(ssh.NewPublicKey(public))
	sign := "vault:ssh/sign/shop?public_key=" + url.PathEscape(strings.TrimSpace(string(ssh.MarshalAuthorizedKey(mine))))
	r.issues(sign, true)
	if certificate := check(r.has(sign)); string(certificate.Key.Marshal()) != string(mine.Marshal()) {
		t.Error("another key was signed")
	}
	r.issues("vault:ssh/issue/shop", true)
	issued := r.has("vault:ssh/issue/shop?key_type=ed25519")
	signer, err := ssh.ParsePrivateKey([]byte(texts(issued)["private_key"]))
	if err != nil || string(signer.PublicKey().Marshal()) != string(check(issued).Key.Marshal()) {
		t.Errorf("the key is not the certificate's: %v", err)
	}
	if err := r.set("ssh/roles/once", map[string]any{"key_type": "otp", "default_user": "deploy", "cidr_list": "127.0.0.0/8"}); err != nil {
		t.Fatal(err)
	}
	once := r.has("vault:ssh/creds/once?ip=127.0.0.1")
	if texts(once)["key"] == "" || once.Lease.ID == "" || once.Lease.TTL <= 0 {
		t.Errorf("fields %q, lease %+v", once.Names(), once.Lease)
	}
	r.issues("vault:ssh/config/ca", false)
	r.wants("vault:ssh/config/ca", map[string]string{"public_key": ca})
	r.fails("vault:ssh/issue/none", providers.ErrNotFound, "unknown role: none")
	check(r.has(sign + "&valid_principals=deploy"))
	r.fails(sign+"&valid_principals=deploy,root", providers.ErrInvalid, "once for each name")
	r.fails(sign+"&valid_principals=deploy&valid_principals=root", providers.ErrDenied, "valid_principals")
	r.fails(sign+"&valid_principals=root", providers.ErrDenied, "valid_principals", "ask for another name")
}

func TestRealVaultCodes(t *testing.T) {
	r := newReal(t)
	r.allow(`path "totp/code/*" { capabilities = ["read"] }`)
	if err := r.EnableTOTP(t.Context(), "totp", "bank"); err != nil {
		t.Fatal(err)
	}
	r.issues("vault:totp/code/bank", false)
	found := r.has("vault:totp/code/bank")
	if valid := must[bool](t)(r.CheckCode(t.Context(), "totp", "bank", texts(found)["code"])); !valid {
		t.Error("the code is wrong")
	}
	if left := found.Lease.TTL; left < time.Second || left > 30*time.Second || found.Lease.ID != "" {
		t.Errorf("lease %+v", found.Lease)
	}
	r.fails("vault:totp/code/none", providers.ErrNotFound, "unknown key: none")
	r.fails("vault:totp/keys/bank", providers.ErrDenied, `path "totp/keys/bank" { capabilities = ["read"] }`)
}

// A wrapping token that is kept in the key-value engine opens once, and the
// second who tries is told who was first: the agent itself, or somebody else.
func TestRealVaultUnwraps(t *testing.T) {
	r := newReal(t)
	r.put("kv", "inner/new", map[string]any{"password": mark, "port": 5432})
	r.put("old", "inner/old", map[string]any{"password": mark})
	for ref, c := range map[string]struct {
		wrapped string
		want    map[string]string
	}{
		"kv/shop/first":   {"kv/data/inner/new", map[string]string{"password": mark, "port": "5432"}},
		"kv/shop/second":  {"old/inner/old", map[string]string{"password": mark}},
		"old/shop/second": {"old/inner/old", map[string]string{"password": mark}},
	} {
		mount, name, _ := strings.Cut(ref, "/")
		wrap := func() string {
			t.Helper()
			token := must[string](t)(r.Wrap(t.Context(), c.wrapped, time.Minute))
			r.put(mount, name, map[string]any{"token": token + "\n"})
			return token
		}
		ref = "vault:" + ref + "?unwrap=true"
		r.issues(ref, true)
		r.issues("vault:"+mount+"/"+name, false)
		for range 2 { // a new one opens again
			wrap()
			r.wants(ref, c.want)
			r.fails(ref, providers.ErrDenied, name, "was opened by this agent at", "opens once")
		}
		if _, err := r.Client().Logical().UnwrapWithContext(t.Context(), wrap()); err != nil { // somebody else is first
			t.Fatal(err)
		}
		r.fails(ref, providers.ErrDenied, name, "TAMPER ALARM", "treat what it wrapped as stolen")
	}
	r.put("kv", "shop/two", map[string]any{"a": mark, "b": mark})
	r.fails("vault:kv/shop/two?unwrap=true", providers.ErrInvalid, "whose one field is the wrapping token", "a, b")
	r.fails("vault:kv/shop/two?unwrap=yes", providers.ErrInvalid, "no parameters but unwrap=true")
}

// What the current version is needs a rule of its own, and the value none.
func TestRealVaultCurrentVersion(t *testing.T) {
	r := newReal(t)
	current := func(ref string) (string, error) { return r.provider.CurrentVersion(t.Context(), parse(t, ref)) }
	r.put("kv", "shop/db", map[string]any{"password": mark})
	_, err := current("vault:kv/shop/db")
	checkError(t, err, providers.ErrDenied, `path "kv/metadata/shop/db" { capabilities = ["read"] }`)
	r.allow(`path "kv/metadata/shop/*" { capabilities = ["read"] }`)
	for n := 1; n <= 3; n++ {
		if got, err := current("vault:kv/shop/db#password"); err != nil || got != fmt.Sprint(n) {
			t.Errorf("%q, %v; want %d", got, err, n)
		}
		r.put("kv", "shop/db", map[string]any{"password": mark})
	}
	if n := r.requests("kv/data/shop/db"); n != 0 {
		t.Errorf("the value was read %d times", n)
	}
	if got, err := current("vault:kv/shop/db@1"); err != nil || got != "1" {
		t.Errorf("a ref with a version: %q, %v", got, err)
	}
	_, err = current("vault:kv/shop/none")
	checkError(t, err, providers.ErrNotFound, "there is nothing at kv/metadata/shop/none")
	if err := r.Client().KVv2("kv").Delete(t.Context(), "shop/db"); err != nil {
		t.Fatal(err)
	}
	_, err = current("vault:kv/shop/db")
	checkError(t, err, providers.ErrNotFound, "version 4, the newest, was deleted")
	_, err = current("vault:old/shop/db")
	checkError(t, err, providers.ErrInvalid, "only version 2 of the key-value engine")
}
