//go:build integration

package vaultsim_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/internal/cloudsim"
	"github.com/quaymaster/quaymaster/internal/cloudsim/awssim"
	"github.com/quaymaster/quaymaster/internal/cloudsim/vaultsim"
	"github.com/quaymaster/quaymaster/test/realvault"
)

// step is one request that the stand-in and the real Vault must answer alike.
type step struct {
	method, path string
	body         any
	token        string // "root", "host" (of the last login), "none", or one that never was
}

// conversation goes through everything that the stand-in does, in an order in
// which each step finds what the steps before it left.
func conversation(t *testing.T, account *awssim.Account) []step {
	t.Helper()
	now := time.Now()
	keys, other := sessionKeys(t, account, "docker-host"), sessionKeys(t, account, "other")
	login := func(change func(map[string]any)) step {
		body := loginBody(t, "docker-host", keys, now, nil)
		if change != nil {
			change(body)
		}
		return step{"POST", "auth/aws/login", body, "none"}
	}
	set := func(field string, value any) step { return login(func(b map[string]any) { b[field] = value }) }
	header := func(name string, value any) step {
		return login(func(b map[string]any) { b["iam_request_headers"].(map[string]any)[name] = value })
	}
	encoded := func(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }
	unknown := keys
	unknown.AccessKeyID = "ASIAUNKNOWNUNKNOWNUN"
	return []step{
		// Before any login.
		{"GET", "sys/health", nil, "none"},
		{"GET", "kv/data/shop/db", nil, "none"},
		{"GET", "kv/data/shop/db", nil, "hvs.never"},
		{"GET", "auth/token/lookup-self", nil, "hvs.never"},
		{"POST", "auth/token/renew-self", nil, "hvs.never"},
		{"POST", "auth/token/revoke-self", nil, "hvs.never"},
		{"GET", "sys/internal/ui/mounts/kv/shop", nil, "hvs.never"},
		{"GET", "sys/internal/ui/mounts/kv/shop", nil, "none"},
		// Logins that fail.
		{"POST", "auth/aws/login", map[string]any{}, "none"},
		{"POST", "auth/aws/login", map[string]any{"role": "docker-host"}, "none"},
		{"GET", "auth/aws/login", nil, "none"},
		{"POST", "auth/nowhere/login", map[string]any{}, "none"},
		set("role", "nobody"),
		set("iam_request_url", "%%%"),
		set("iam_request_url", encoded("https://sts.amazonaws.com/?Action=AssumeRole")),
		set("iam_request_body", ""),
		set("iam_request_body", "%%%"),
		set("iam_request_body", encoded("Action=AssumeRole&Version=2011-06-15")),
		set("iam_request_body", encoded(callerQuery+"&RoleArn=x")),
		set("iam_request_body", encoded("Action=GetCallerIdentity&Version=2011-06-16")), // under another signature
		set("iam_request_headers", "!!"),
		header("X-Vault-Aws-Iam-Server-Id", "other.internal"),
		header("X-Amz-Target", "x"),
		header("Content-Type", "text/plain"),
		login(func(b map[string]any) { delete(b["iam_request_headers"].(map[string]any), "Authorization") }),
		login(func(b map[string]any) { delete(b["iam_request_headers"].(map[string]any), "X-Vault-Aws-Iam-Server-Id") }),
		{"POST", "auth/aws/login", loginBody(t, "docker-host", other, now, nil), "none"},
		{"POST", "auth/aws/login", loginBody(t, "docker-host", unknown, now, nil), "none"},
		{"POST", "auth/aws/login", loginBody(t, "docker-host", keys, now.Add(-20*time.Minute), nil), "none"},
		{"POST", "auth/aws/login", loginBody(t, "", keys, now, nil), "none"},
		// A login, and what its token may do.
		{"PUT", "auth/aws/login", loginBody(t, "docker-host", keys, now, nil), "none"},
		{"GET", "auth/token/lookup-self", nil, "host"},
		{"POST", "auth/token/renew-self", nil, "host"},
		{"PUT", "auth/token/renew-self", map[string]any{"increment": 30}, "host"},
		{"POST", "auth/token/renew-self", map[string]any{"increment": "45s"}, "host"},
		{"POST", "auth/token/renew-self", map[string]any{"increment": "45"}, "host"},
		{"GET", "sys/internal/ui/mounts/kv/shop/db", nil, "host"},
		{"GET", "sys/internal/ui/mounts/kv", nil, "host"},
		{"GET", "sys/internal/ui/mounts/old/shop/db", nil, "host"},
		{"GET", "sys/internal/ui/mounts/nowhere/shop", nil, "host"},
		{"GET", "sys/internal/ui/mounts/closed/shop", nil, "host"},
		{"GET", "kv/data/shop/db", nil, "host"},
		{"GET", "kv/data/other/db", nil, "host"},
		{"GET", "nowhere/shop", nil, "host"},
		{"GET", "nowhere/shop", nil, "root"},
		// Version 2 of the key-value engine.
		{"POST", "kv/data/shop/db", map[string]any{"data": map[string]any{"user": "shop", "port": 5432, "tls": true}}, "root"},
		{"PUT", "kv/data/shop/db", map[string]any{"data": map[string]any{"user": "shop2"}}, "root"},
		{"POST", "kv/data/shop/db", map[string]any{"user": "shop"}, "root"},
		{"GET", "kv/data/shop/db", nil, "host"},
		{"GET", "kv/data/shop/db?version=0", nil, "host"},
		{"GET", "kv/data/shop/db?version=1", nil, "host"},
		{"GET", "kv/data/shop/db?version=9", nil, "host"},
		{"GET", "kv/data/shop/db?version=abc", nil, "host"},
		{"GET", "kv/metadata/shop/db", nil, "root"},
		{"GET", "kv/metadata/shop/none", nil, "root"},
		{"DELETE", "kv/data/shop/db", nil, "root"},
		{"GET", "kv/data/shop/db", nil, "host"},
		{"DELETE", "kv/data/shop/none", nil, "root"},
		{"GET", "kv/shop/db", nil, "root"},
		// Version 1.
		{"GET", "old/shop/db", nil, "host"},
		{"POST", "old/shop/db", map[string]any{"user": "shop", "port": 5432}, "root"},
		{"POST", "old/shop/db", nil, "root"},
		{"GET", "old/shop/db", nil, "host"},
		{"DELETE", "old/shop/db", nil, "root"},
		{"GET", "old/shop/db", nil, "host"},
		// The end.
		{"POST", "auth/token/revoke-self", nil, "host"},
		{"GET", "auth/token/lookup-self", nil, "host"},
		{"POST", "auth/aws/login", loginBody(t, "periodic", keys, now, nil), "none"},
		{"POST", "auth/token/renew-self", map[string]any{"increment": 5000}, "host"},
		{"GET", "auth/token/lookup-self", nil, "host"},
		{"POST", "auth/token/renew-self", nil, "root"},
	}
}

func TestAnswersLikeTheRealVault(t *testing.T) {
	account := awssim.NewAccount(accountID, cloudsim.NewEnvironment(nil, nil))
	account.AddRole("/", "docker-host")
	account.AddRole("/", "other")
	sts, err := cloudsim.Start(awssim.NewSTS(account, "us-east-1"), cloudsim.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer sts.Close()
	roles := []realvault.IAMRole{
		{Mount: "aws", Name: "docker-host", Principal: "arn:aws:iam::" + accountID + ":role/docker-host",
			Policies: []string{"shop"}, TTL: time.Minute, MaxTTL: time.Hour},
		{Mount: "aws", Name: "periodic", Principal: "arn:aws:iam::" + accountID + ":role/docker-host",
			Policies: []string{"shop"}, Period: 10 * time.Minute},
	}
	realAddress, realToken := startReal(t, sts.URL(), roles)
	simAddress, simToken := startSim(t, sts.URL(), roles)
	steps := conversation(t, account)
	want, got := talk(t, realAddress, realToken, steps), talk(t, simAddress, simToken, steps)
	for i, s := range steps {
		if !reflect.DeepEqual(got[i], want[i]) {
			t.Errorf("step %d: %s %s as %s\n got  %v\n want %v", i, s.method, s.path, s.token, pretty(got[i]), pretty(want[i]))
		}
	}
}

func startReal(t *testing.T, sts string, roles []realvault.IAMRole) (address, token string) {
	t.Helper()
	v := realvault.ForTest(t, realvault.Options{})
	for name, version := range map[string]int{"kv": 2, "old": 1, "closed": 2} {
		if err := v.MountKV(t.Context(), name, version); err != nil {
			t.Fatal(err)
		}
	}
	policy := `path "kv/data/shop/*" { capabilities = ["read"] } path "old/+/db" { capabilities = ["read"] }`
	if err := v.WritePolicy(t.Context(), "shop", policy); err != nil {
		t.Fatal(err)
	}
	if err := v.EnableAWS(t.Context(), realvault.AWSAuth{Mount: "aws", STS: sts, ServerID: serverID}); err != nil {
		t.Fatal(err)
	}
	for _, role := range roles {
		if err := v.WriteIAMRole(t.Context(), role); err != nil {
			t.Fatal(err)
		}
	}
	return v.Address(), v.Client().Token()
}

func startSim(t *testing.T, sts string, roles []realvault.IAMRole) (address, token string) {
	t.Helper()
	v := vaultsim.New(cloudsim.NewEnvironment(nil, nil))
	for name, version := range map[string]int{"kv": 2, "old": 1, "closed": 2} {
		if err := v.MountKV(name, version); err != nil {
			t.Fatal(err)
		}
	}
	v.PutPolicy("shop", "kv/data/shop/*", "old/+/db")
	v.EnableAWS(vaultsim.AWSAuth{Mount: "aws", STS: sts, ServerID: serverID,
		Metadata: []string{"account_id", "auth_type", "canonical_arn", "client_arn"}}) // as EnableAWS sets the real one up
	for _, r := range roles {
		role := vaultsim.IAMRole{Mount: r.Mount, Name: r.Name, Principal: r.Principal, Policies: r.Policies, TTL: r.TTL, MaxTTL: r.MaxTTL, Period: r.Period}
		if err := v.PutRole(role); err != nil {
			t.Fatal(err)
		}
	}
	server, err := cloudsim.Start(v, cloudsim.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	return server.URL(), v.RootToken()
}

// reply is an answer without what differs from run to run.
type reply struct {
	Status      int
	ContentType string
	Body        any
}

func talk(t *testing.T, address, rootToken string, steps []step) (replies []reply) {
	t.Helper()
	tokens := map[string]string{"root": rootToken, "none": ""}
	client := &http.Client{Transport: &http.Transport{Proxy: nil, DisableKeepAlives: true}, Timeout: time.Minute}
	for _, s := range steps {
		token, known := tokens[s.token]
		if !known {
			token = s.token
		}
		got, content := ask(t, client, address, token, s)
		replies = append(replies, got)
		var login struct {
			Auth struct {
				ClientToken string `json:"client_token"`
			}
		}
		if json.Unmarshal(content, &login) == nil && strings.HasSuffix(s.path, "/login") && got.Status == http.StatusOK {
			tokens["host"] = login.Auth.ClientToken
		}
	}
	return replies
}

func ask(t *testing.T, client *http.Client, address, token string, s step) (reply, []byte) {
	t.Helper()
	var body io.Reader
	if s.body != nil {
		text, err := json.Marshal(s.body)
		if err != nil {
			t.Fatal(err)
		}
		body = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(t.Context(), s.method, address+"/v1/"+s.path, body)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		request.Header.Set("X-Vault-Token", token)
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
	got := reply{Status: response.StatusCode, ContentType: response.Header.Get("Content-Type")}
	if len(content) > 0 {
		if err := json.Unmarshal(content, &got.Body); err != nil {
			t.Fatalf("%s %s: %v: %s", s.method, s.path, err, content)
		}
		got.Body = stable("", got.Body)
	}
	return got, content
}

// volatile are fields that have another value in every run, but have one.
var volatile = regexp.MustCompile(`^(request_id|client_token|accessor|id|uuid|entity_id|.*_time|.*_time_utc|last_renewal|ttl|` +
	`cluster_.*|echo_duration_ms|clock_skew_ms|description)$`)

// local are fields that Vault has and the stand-in leaves out.
var local = regexp.MustCompile(`^(created_by|deleted_by|last_updated_by)$`)

// uuids stand in error texts, and so does the time at which STS was asked.
var uuids = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|\d{8}T\d{6}Z`)

func stable(name string, value any) any {
	switch v := value.(type) {
	case map[string]any:
		for key, each := range v {
			if local.MatchString(key) {
				delete(v, key)
				continue
			}
			v[key] = stable(key, each)
		}
		return v
	case []any:
		for i, each := range v {
			v[i] = stable("", each)
		}
		return v
	case string:
		if v != "" && volatile.MatchString(name) {
			return "…"
		}
		return uuids.ReplaceAllString(v, "…")
	case float64:
		if volatile.MatchString(name) {
			return "…"
		}
	}
	return value
}

func pretty(r reply) string {
	text, _ := json.Marshal(r)
	return string(text)
}
