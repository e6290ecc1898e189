package vault_test

import (
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/internal/cloudsim"
	"github.com/quaymaster/quaymaster/providers"
)

// engine makes m a mount of a kind of which the stand-in knows nothing but
// what this one path answers.
func (w *world) engine(kind, path string, status int, body string) {
	w.answers("sys/internal/ui/mounts/m", http.StatusOK, `{"data":{"path":"m/","type":"`+kind+`"}}`)
	w.answers(path, status, body)
}

// answers makes a path answer with body, numbered as Vault does it.
func (w *world) answers(path string, status int, body string) {
	w.Set(path, cloudsim.Fault{Status: status, Body: strings.Replace(body, "{", `{"request_id":"1",`, 1)})
}

// Which secrets are made for the one who reads them; and a ref is understood
// by what its mount is, whatever that is called.
func TestWhatIsIssued(t *testing.T) {
	for kind, refs := range map[string]map[string]bool{
		"database":   {"m/creds/ro": true, "m/static-creds/ro": false},
		"aws":        {"m/creds/x": true, "m/sts/x": true, "m/static-creds/x": false},
		"gcp":        {"m/roleset/x/token": true, "m/static-account/x/key": true},
		"azure":      {"m/creds/x": true},
		"consul":     {"m/creds/x": true},
		"rabbitmq":   {"m/creds/x": true},
		"kubernetes": {"m/creds/x?kubernetes_namespace=shop": true},
		"ldap":       {"m/creds/x": true, "m/static-cred/x": false, "m/library/x/check-out?method=write": true},
		"openldap":   {"m/static-cred/x": false},
		"ad":         {"m/creds/x": false, "m/library/x/check-out?method=write": true},
		"pki":        {"m/issue/web?common_name=a": true, "m/sign/web": true, "m/issuer/a/sign/web": true, "m/cert/ca": false, "m/issuer/default": false},
		"ssh":        {"m/sign/x": true, "m/issue/x": true, "m/creds/x": true, "m/config/ca": false},
		"totp":       {"m/code/x": false, "m/keys/x": false},
		"transit":    {"m/decrypt/x?ciphertext=y": false, "m/export/encryption-key/x": false, "m/datakey/plaintext/x?method=write": true},
		"identity":   {"m/oidc/token/x": true},
		"kv":         {"m/x": false, "m/x?unwrap=true": true},
		"unheard-of": {"m/anything": true},
	} {
		w := newWorld(t)
		w.engine(kind, "m/", http.StatusTeapot, "")
		for ref, want := range refs {
			if got, err := w.provider.Issues(t.Context(), parse(t, "vault:"+ref)); err != nil || got != want {
				t.Errorf("%s: %s: %v, %v", kind, ref, got, err)
			}
		}
		if n := w.reads.Load(); n != 0 {
			t.Errorf("%s: %d secrets were read to learn that", kind, n)
		}
	}
	w := newWorld(t)
	_, err := w.provider.Issues(t.Context(), parse(t, "vault:nowhere/x"))
	checkError(t, err, providers.ErrDenied, w.address, "nothing is mounted there, or no policy of the token allows anything there", `path "nowhere/x"`)
}

func TestAnswersOfEngines(t *testing.T) {
	for name, c := range map[string]struct {
		body  string
		want  map[string]string
		lease secret.Lease // but IssuedAt
	}{
		"leased": {
			`{"lease_id":"m/creds/x/AbC","lease_duration":3600,"renewable":true,"data":{"username":"u","password":"` + mark + `"}}`,
			map[string]string{"username": "u", "password": mark}, secret.Lease{ID: "m/creds/x/AbC", TTL: time.Hour, Renewable: true, Token: accessor},
		},
		"every kind of value": {
			`{"lease_id":"m/creds/x/AbC","lease_duration":60,"data":{"n":9007199254740993,"f":1.50,"b":false,"z":null,"l":["a&b","<c>"],"o":{"k":1e3},"s":"1"}}`,
			map[string]string{"n": "9007199254740993", "f": "1.50", "b": "false", "z": "null", "l": `["a&b","<c>"]`, "o": `{"k":1e3}`, "s": "1"},
			secret.Lease{ID: "m/creds/x/AbC", TTL: time.Minute, Token: accessor},
		},
		"changed by Vault": {
			`{"lease_id":"","lease_duration":0,"data":{"username":"u","ttl":90.5}}`, map[string]string{"username": "u"}, secret.Lease{TTL: 90500 * time.Millisecond},
		},
		"about to be changed": {`{"data":{"username":"u","ttl":0}}`, map[string]string{"username": "u"}, secret.Lease{TTL: 5 * time.Second}},
		"of a token": {
			`{"data":{"token":"t","token_ttl":3599,"expires_at_seconds":1800000000}}`,
			map[string]string{"token": "t", "token_ttl": "3599", "expires_at_seconds": "1800000000"}, secret.Lease{TTL: 3599 * time.Second},
		},
		"a lease that has a ttl in it": {
			`{"lease_id":"m/creds/x/AbC","lease_duration":60,"data":{"ttl":5}}`, map[string]string{"ttl": "5"},
			secret.Lease{ID: "m/creds/x/AbC", TTL: time.Minute, Token: accessor},
		},
		"without an end": {`{"data":{"a":"b","ttl":"never"}}`, map[string]string{"a": "b", "ttl": "never"}, secret.Lease{}},
	} {
		w := newWorld(t)
		w.engine("unheard-of", "m/creds/x", http.StatusOK, c.body)
		found, err := w.fetch("vault:m/creds/x?a=b")
		c.lease.IssuedAt = w.now
		if err != nil || !maps.Equal(texts(found), c.want) || found.Lease != c.lease {
			t.Errorf("%s: %v\ngot  %q, %+v\nwant %q, %+v", name, err, texts(found), found.Lease, c.want, c.lease)
		}
	}
}

// A code is good until its half minute is over.
func TestCodesEndWithTheirPeriod(t *testing.T) {
	for after, want := range map[time.Duration]time.Duration{
		0: 30 * time.Second, 12 * time.Second: 18 * time.Second, 29*time.Second + 900*time.Millisecond: time.Second, 30 * time.Second: 30 * time.Second,
	} {
		w := newWorld(t)
		w.now = w.now.Add(after)
		w.engine("totp", "m/code/bank", http.StatusOK, `{"data":{"code":"123456"}}`)
		if found, err := w.fetch("vault:m/code/bank"); err != nil || found.Lease.TTL != want || texts(found)["code"] != "123456" {
			t.Errorf("%s after the beginning: %+v, %v", after, found.Lease, err)
		}
	}
}

// What engines refuse is told apart by their texts. The database's, PKI's and
// the others' that a test can have are asked for really; these are the rest.
func TestWhatEnginesRefuse(t *testing.T) {
	for said, want := range map[string]struct {
		status int
		kind   error
		text   string
	}{
		`Role \"shop\" not found`:             {400, providers.ErrNotFound, "make that role"}, // aws
		`role 'shop' does not exist`:          {400, providers.ErrNotFound, "make that role"}, // azure, kubernetes
		`role set \"shop\" does not exists`:   {400, providers.ErrNotFound, "make that role"}, // gcp
		`static account \"s\" does not exist`: {400, providers.ErrNotFound, "make that role"},
		`unsupported operation`:               {405, providers.ErrInvalid, "with ?method=write in the ref, and in the grant"},
		`out of memory`:                       {500, providers.ErrUnavailable, "see Vault's log, and whether what stands behind that engine"},
		`something about shop`:                {400, providers.ErrInvalid, "Vault refuses the request (400)"},
		`permission denied`:                   {403, providers.ErrDenied, `path "m/creds/shop" { capabilities = ["read"] }`},
	} {
		w := newWorld(t)
		w.engine("unheard-of", "m/creds/shop", want.status, `{"errors":["1 error occurred:\n\t* `+said+`\n\n"]}`)
		w.fails("vault:m/creds/shop", want.kind, want.text, strings.ReplaceAll(said, `\`, ""))
	}
	for body, kind := range map[string]error{`{"data":{}}`: providers.ErrNotFound, `{"data":null}`: providers.ErrNotFound} {
		w := newWorld(t)
		w.engine("unheard-of", "m/creds/shop", http.StatusOK, body)
		w.fails("vault:m/creds/shop", kind, "there is nothing at m/creds/shop")
	}
}

// Answers with which nothing can be done, as a proxy or another Vault might
// give them.
func TestAnswersThatMakeNoSense(t *testing.T) {
	for path, c := range map[string]struct{ kind, body, text string }{
		"m/issue/web?common_name=a":    {"pki", `{"data":{"certificate":"x","private_key":"` + mark + `"}}`, "no certificate for its key"},
		"m/sign/web?common_name=a":     {"pki", `{"data":{"serial_number":7}}`, "no certificate for its key"},
		"m/decrypt/shop?ciphertext=c":  {"transit", `{"data":{"plaintext":"` + mark + `!"}}`, "not base64"},
		"m/decrypt/other?ciphertext=c": {"transit", `{"data":{}}`, "not base64"},
		"m/issue/shop":                 {"ssh", `{"data":{"signed_key":"` + mark + `"}}`, "no SSH certificate"},
		"m/sign/shop": {"ssh", `{"data":{"signed_key":"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE8Ot5bCqvTLmH0v4hqoB9DHwzV5ozXCGBl1Vx0ySyMd"}}`,
			"it is a plain ssh-ed25519 key"},
	} {
		w := newWorld(t)
		w.engine(c.kind, "m/", http.StatusOK, c.body)
		w.fails("vault:"+path, providers.ErrUnavailable, c.text)
	}
}

func TestVersionsThatAreGone(t *testing.T) {
	for versions, kind := range map[string]error{
		`{"2":{"deletion_time":"","destroyed":false}}`:                     nil,
		`{"2":{"deletion_time":"2026-03-01T12:00:01Z","destroyed":false}}`: nil, // set ahead
		`{"2":{"deletion_time":"2026-03-01T12:00:00Z","destroyed":false}}`: providers.ErrNotFound,
		`{"2":{"deletion_time":"","destroyed":true}}`:                      providers.ErrNotFound,
		`{"1":{"deletion_time":"","destroyed":false}}`:                     providers.ErrNotFound,
		`"x"`: providers.ErrNotFound,
	} {
		w := newWorld(t)
		w.answers("kv/metadata/shop/db", http.StatusOK, `{"data":{"current_version":2,"versions":`+versions+`}}`)
		version, err := w.provider.CurrentVersion(t.Context(), parse(t, "vault:kv/shop/db"))
		if kind == nil && (version != "2" || err != nil) {
			t.Errorf("%s: %q, %v", versions, version, err)
		}
		if kind != nil {
			checkError(t, err, kind, "version 2", w.address, "kv/metadata/shop/db")
		}
	}
	w := newWorld(t)
	w.answers("kv/metadata/shop/db", http.StatusOK, `{"data":{}}`)
	_, err := w.provider.CurrentVersion(t.Context(), parse(t, "vault:kv/shop/db"))
	checkError(t, err, providers.ErrUnavailable, "is that Vault?")
}

// An unwrapping whose answer got lost is not taken for another's.
func TestUnwrapWithoutAnAnswer(t *testing.T) {
	w := newWorld(t)
	if _, err := w.PutSecret("kv", "shop/first", map[string]any{"token": "hvs." + mark}); err != nil {
		t.Fatal(err)
	}
	w.Set("sys/wrapping/unwrap", cloudsim.Fault{Reset: true})
	w.fails("vault:kv/shop/first?unwrap=true", providers.ErrUnavailable, "unwrapping what is kept at kv/shop/first")
	w.answers("sys/wrapping/unwrap", http.StatusBadRequest, `{"errors":["wrapping token is not valid or does not exist"]}`)
	w.fails("vault:kv/shop/first?unwrap=true", providers.ErrDenied, "was opened by this agent at 2026-03-01T12:00:00Z")
	w.answers("sys/wrapping/unwrap", http.StatusOK, `{"auth":{"client_token":"`+mark+`"}}`)
	w.fails("vault:kv/shop/first?unwrap=true", providers.ErrInvalid, "is a login to Vault")
}
