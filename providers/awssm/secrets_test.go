package awssm_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/providers"
	"github.com/quaymaster/quaymaster/providers/awssm"
	"github.com/quaymaster/quaymaster/providers/providertest"
)

// What a secret holds decides which fields it has.
func TestFields(t *testing.T) {
	w := newWorld(t, awssm.Options{})
	for text, want := range map[string][]string{
		`{"user":"shop","port":5432,"big":12345678901234567890,"tls":true,"none":null,"hosts":["a", 1],"o":{"k":"v"}}`: {
			"user", "shop", "port", "5432", "big", "12345678901234567890", "tls", "true", "none", "null", "hosts", `["a", 1]`, "o", `{"k":"v"}`},
		` {"a":"\u00e4\n\"","":"nameless"} `:   {"a", "ä\n\"", "", "nameless"},
		`{"twice":"1","twice":"2"}`:            {"twice", "2"},
		`{}`:                                   {"value", `{}`},
		`["a","b"]`:                            {"value", `["a","b"]`},
		`"text"`:                               {"value", `"text"`},
		`{"a":"b"} trailing`:                   {"value", `{"a":"b"} trailing`},
		`{"a":`:                                {"value", `{"a":`},
		"hunter2\n":                            {"value", "hunter2\n"},
		"-----BEGIN KEY-----\n1\n-----END----": {"value", "-----BEGIN KEY-----\n1\n-----END----"},
	} {
		w.secrets[home].PutText("qm-db", text)
		w.wants("aws:qm-db", want...)
	}
	w.secrets[home].PutBinary("qm-db", []byte("{\"a\":\"\x00\xff\"}"))
	w.wants("aws:qm-db", "value", "{\"a\":\"\x00\xff\"}")
}

// Labels and IDs are told apart by what they look like, and where that is not
// enough, by asking for both.
func TestVersions(t *testing.T) {
	w := newWorld(t, awssm.Options{})
	sm := w.secrets[home]
	const terraform = "terraform-20240131093025887600000001" // an ID as Terraform makes them
	const label = "a-label-that-is-as-long-as-an-id-is-at-least"
	one := sm.PutText("qm-db", "one")
	sm.PutVersion("qm-db", terraform, "two")
	three := sm.PutText("qm-db", "three")
	sm.SetStage("qm-db", "blue/green@1", one)
	sm.SetStage("qm-db", label, one)
	for ref, want := range map[string][2]string{
		"aws:qm-db":                  {"three", three},
		"aws:qm-db@AWSCURRENT":       {"three", three},
		"aws:qm-db@AWSPREVIOUS":      {"two", terraform},
		"aws:qm-db@" + terraform:     {"two", terraform},
		"aws:qm-db@" + one:           {"one", one},
		"aws:qm-db@blue/green%401":   {"one", one},
		"aws:qm-db@" + label:         {"one", one},
		"aws:qm-db#value@AWSCURRENT": {"three", three},
	} {
		if found := w.wants(ref, "value", want[0]); found.Version != want[1] {
			t.Errorf("%s is version %q, want %q", ref, found.Version, want[1])
		}
		if version, err := w.CurrentVersion(t.Context(), w.ref(ref)); err != nil || version != want[1] {
			t.Errorf("%s has version %q, want %q: %v", ref, version, want[1], err)
		}
	}
	for _, version := range []string{"AWSPENDING", "7", three[:35] + "x", strings.Repeat("x", 50)} {
		w.fails("aws:qm-db@"+version, providers.ErrNotFound, "qm-db")
		_, err := w.CurrentVersion(t.Context(), w.ref("aws:qm-db@"+version))
		w.checks(version, err, providers.ErrNotFound, "qm-db")
	}
}

func TestDeletedSecret(t *testing.T) {
	w := newWorld(t, awssm.Options{})
	w.secrets[home].PutText("qm-db", "one")
	w.secrets[home].Delete("qm-db")
	w.fails("aws:qm-db", providers.ErrNotFound, "scheduled for deletion", "restore-secret")
	_, err := w.CurrentVersion(t.Context(), w.ref("aws:qm-db"))
	w.checks("qm-db", err, providers.ErrNotFound, "scheduled for deletion")
	w.secrets[home].Restore("qm-db")
	w.wants("aws:qm-db", "value", "one")
}

// A change that has not arrived everywhere is not there yet, and no error.
func TestEventualConsistency(t *testing.T) {
	w := newWorld(t, awssm.Options{})
	sm := w.secrets[home]
	first := sm.PutText("qm-db", "one")
	sm.SetLagging(true)
	sm.PutText("qm-db", "two")
	if found := w.wants("aws:qm-db", "value", "one"); found.Version != first {
		t.Errorf("version %q", found.Version)
	}
	sm.PutText("qm-new", "one")
	w.fails("aws:qm-new", providers.ErrNotFound)
	sm.SetLagging(false)
	w.wants("aws:qm-db", "value", "two")
	w.wants("aws:qm-new", "value", "one")
}

// An ARN names a region and an account, and names that a path cannot have.
func TestARNs(t *testing.T) {
	w := newWorld(t, awssm.Options{})
	w.secrets[home].PutText("/qm-db/", "slashes")
	w.secrets[home].PutText("ssm/qm-db", "ssm")
	w.secrets[replica].PutText("qm-db", "central")
	w.wants("aws:"+w.secrets[home].ARN("/qm-db/"), "value", "slashes")
	w.wants("aws:"+w.secrets[home].ARN("ssm/qm-db"), "value", "ssm")
	w.wants("aws:"+w.secrets[replica].ARN("qm-db"), "value", "central")
	w.wants("aws:arn:aws:secretsmanager:"+replica+":"+accountID+":secret:qm-db", "value", "central")
	w.fails("aws:qm-db", providers.ErrNotFound, home)

	foreign := "arn:aws:secretsmanager:" + home + ":" + foreignID + ":secret:qm-db"
	w.secrets[home].PutText(foreign, "foreign")
	w.fails("aws:"+foreign, providers.ErrDenied, "the secret's own policy does not allow secretsmanager:GetSecretValue", "put-resource-policy", "docker-host")
	w.secrets[home].Share(foreign, w.account.RoleARN("docker-host"))
	w.wants("aws:"+foreign, "value", "foreign")
	if n := w.secrets[replica].Reads(); n != 2 {
		t.Errorf("%d reads in %s, want 2", n, replica)
	}
}

// A name that differs from what a path can be in slashes alone.
func TestNamesWithOtherSlashes(t *testing.T) {
	w := newWorld(t, awssm.Options{})
	for _, name := range []string{"/qm-a/b", "qm-a//b", "qm-a/b/", "qm-a/../b"} {
		w.secrets[home].PutText(name, name)
		w.wants((secret.Ref{Provider: "aws", Path: "qm-a/b", Params: map[string][]string{"name": {name}}}).String(), "value", name)
	}
	w.fails("aws:qm-a/b?name=qm-a/c", providers.ErrInvalid, "the path to write is qm-a/c")
	w.fails("aws:qm-a/b", providers.ErrNotFound)
}

func TestKMS(t *testing.T) {
	w := newWorld(t, awssm.Options{})
	key := w.account.KeyARN(home, "shop")
	w.secrets[home].PutText("qm-a", "one")
	w.secrets[home].PutText("qm-db", "two")
	w.secrets[home].SetKey("qm-db", key)
	w.parameters[home].Put("qm-a", "three")
	w.parameters[home].Put("qm-db", "four")
	w.parameters[home].SetKey("qm-db", key)
	refs := []secret.Ref{w.ref("aws:qm-a"), w.ref("aws:qm-db"), w.ref("aws:ssm/qm-a"), w.ref("aws:ssm/qm-db")}
	for i, answer := range w.FetchBatch(t.Context(), refs) {
		if i%2 == 0 && answer.Err != nil {
			t.Errorf("%s: %v", refs[i], answer.Err)
		}
		if i%2 == 1 {
			w.checks(refs[i].String(), answer.Err, providers.ErrDenied, "qm-db", "allow kms:Decrypt on its KMS key")
		}
	}
	if version, err := w.CurrentVersion(t.Context(), refs[3]); err != nil || version != "1" {
		t.Errorf("the version is no secret: %q, %v", version, err)
	}
	w.permissions.Allow(w.account.RoleARN("docker-host"), "kms:Decrypt", key)
	w.wants("aws:qm-db", "value", "two")
	w.wants("aws:ssm/qm-db", "value", "four")
}

func TestExplicitDeny(t *testing.T) {
	w := newWorld(t, awssm.Options{})
	w.secrets[home].PutText("qm-db", "one")
	w.permissions.Deny(w.account.RoleARN("docker-host"), "secretsmanager:*", "*:secret:qm-db-*")
	w.fails("aws:qm-db", providers.ErrDenied, "a policy denies secretsmanager:GetSecretValue on arn:aws:", "assumed-role/docker-host/", "explicitly")
}

// Who may read and not describe cannot be told versions, and is told why.
func TestVersionWithoutPermission(t *testing.T) {
	w := newWorld(t, awssm.Options{})
	w.secrets[home].PutText("qm-db", "one")
	w.permissions.Deny(w.account.RoleARN("docker-host"), "secretsmanager:DescribeSecret", "*")
	_, err := w.CurrentVersion(t.Context(), w.ref("aws:qm-db"))
	w.checks("qm-db", err, providers.ErrDenied, "secretsmanager:DescribeSecret")
	w.wants("aws:qm-db", "value", "one")
}

// When Secrets Manager does not answer in one region, the next one is asked.
func TestReplicas(t *testing.T) {
	w := newWorld(t, awssm.Options{Replicas: []string{replica}})
	near, far := w.secrets[home], w.secrets[replica]
	version := near.PutText("qm-db", "one")
	near.PutText("qm-api", "two")
	near.PutText("qm-here-only", "three")
	far.Copy(near, "qm-db")
	far.Copy(near, "qm-api")
	w.wants("aws:qm-db", "value", "one")
	if far.Reads() != 0 {
		t.Error("the replica was asked while the region answers")
	}
	for _, how := range []providertest.Fault{providertest.Down, providertest.Failing, providertest.Garbage} {
		near.Set("", faults[how])
		if found := w.wants("aws:qm-db", "value", "one"); found.Version != version {
			t.Errorf("version %q, want %q", found.Version, version)
		}
		w.wants("aws:"+near.ARN("qm-db"), "value", "one")
		if got, err := w.CurrentVersion(t.Context(), w.ref("aws:qm-db")); err != nil || got != version {
			t.Errorf("%s: version %q, %v", how, got, err)
		}
		before := far.Reads()
		refs := []secret.Ref{w.ref("aws:qm-db"), w.ref("aws:qm-api"), w.ref("aws:" + near.ARN("qm-api"))}
		for i, answer := range w.FetchBatch(t.Context(), refs) {
			if answer.Err != nil {
				t.Errorf("%s: %s: %v", how, refs[i], answer.Err)
			}
		}
		if n := far.Reads() - before; n != 2 { // names in one request, and the one ARN
			t.Errorf("%s: %d reads of the replica", how, n)
		}
		w.fails("aws:qm-here-only", providers.ErrUnavailable, home) // what the replica lacks may still be there
	}
	near.Set("", faults[providertest.Throttled])
	w.fails("aws:qm-db", providers.ErrUnavailable, "AWS limits requests", home)
	near.Set("", faults[providertest.Failing])
	far.Set("", faults[providertest.Down])
	w.fails("aws:qm-db", providers.ErrUnavailable, home, "AWS failed (500)")
	near.Clear("")
	w.wants("aws:qm-db", "value", "one")

	w.parameters[home].Set("", faults[providertest.Failing])
	w.fails("aws:ssm/qm-db", providers.ErrUnavailable, home)
	if n := w.parameters[replica].Count("GetParameter", ""); n != 0 {
		t.Error("Parameter Store has no replicas, and one was asked")
	}
}

// A batch takes as few requests as AWS allows, and no permission that single
// reads do not need.
func TestBatch(t *testing.T) {
	now := newClock()
	w := newWorld(t, awssm.Options{Now: now.read})
	var refs []secret.Ref
	for i := range 25 {
		name := "qm-" + strings.Repeat("x", i)
		w.secrets[home].PutText(name, name)
		w.parameters[home].Put("/"+name+"/p", name)
		refs = append(refs, w.ref("aws:"+name), w.ref("aws:ssm/"+name+"/p"))
	}
	w.secrets[replica].PutText("qm-central", "qm-central")
	refs = append(refs, w.ref("aws:"+w.secrets[replica].ARN("qm-central")), w.ref("aws:qm-x@AWSCURRENT"))
	all := func() {
		t.Helper()
		for i, answer := range w.FetchBatch(t.Context(), refs) {
			value, err := answer.Secret.Select("")
			if answer.Err != nil || err != nil || !strings.Contains(refs[i].Path, string(value.Reveal())) { // a test's own value
				t.Errorf("%s: %v, %v", refs[i], answer.Err, err)
			}
		}
	}
	count := func(batches, singles int) {
		t.Helper()
		sm := w.secrets[home]
		if b, s := sm.Count("BatchGetSecretValue", ""), sm.Count("GetSecretValue", ""); b != batches || s != singles {
			t.Errorf("%d batches and %d single reads, want %d and %d", b, s, batches, singles)
		}
	}
	all()
	count(2, 1)
	if ssm := w.parameters[home]; ssm.Count("GetParameters", "") != 3 || ssm.Count("GetParameter", "") != 0 {
		t.Errorf("%d and %d requests to Parameter Store", ssm.Count("GetParameters", ""), ssm.Count("GetParameter", ""))
	}

	// The batch is denied: single reads do, and it is left alone for an hour.
	w.permissions.Deny(w.account.RoleARN("docker-host"), "secretsmanager:BatchGetSecretValue", "*")
	all()
	count(4, 27)
	all()
	count(4, 53)
	now.move(time.Hour)
	all()
	count(6, 79)
}

// One parameter that the host may not read does not keep it from the others.
func TestBatchWithOneDenied(t *testing.T) {
	w := newWorld(t, awssm.Options{})
	for _, name := range []string{"/qm-a/p", "/qm-b/p", "/other/p"} {
		w.parameters[home].Put(name, "one")
	}
	answers := w.FetchBatch(t.Context(), []secret.Ref{w.ref("aws:ssm/qm-a/p"), w.ref("aws:ssm/other/p"), w.ref("aws:ssm/qm-b/p"), w.ref("aws:ssm/qm-c/p")})
	if answers[0].Err != nil || answers[2].Err != nil {
		t.Errorf("%v, %v", answers[0].Err, answers[2].Err)
	}
	w.checks("other", answers[1].Err, providers.ErrDenied, "ssm:GetParameter on arn:aws:ssm:eu-west-1:123456789012:parameter/other/p")
	w.checks("missing", answers[3].Err, providers.ErrNotFound, "qm-c/p")
	for _, answer := range answers {
		if errors.Is(answer.Err, providers.ErrUnavailable) {
			t.Error(answer.Err)
		}
	}
}
