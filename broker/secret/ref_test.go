package secret_test

import (
	"net/url"
	"reflect"
	"strings"
	"testing"

	"github.com/quaymaster/quaymaster/broker/secret"
)

func TestParseRef(t *testing.T) {
	for text, want := range map[string]secret.Ref{
		"vault:kv/shop/db#password":             {Provider: "vault", Path: "kv/shop/db", Field: "password"},
		"vault:database/creds/shop-ro":          {Provider: "vault", Path: "database/creds/shop-ro"},
		"aws:prod/shop/db#password@AWSPREVIOUS": {Provider: "aws", Path: "prod/shop/db", Field: "password", Version: "AWSPREVIOUS"},
		"gcp:my-project/db-password@7":          {Provider: "gcp", Path: "my-project/db-password", Version: "7"},
		"aws:arn:aws:secretsmanager:eu-west-1:1:secret:a": {
			Provider: "aws", Path: "arn:aws:secretsmanager:eu-west-1:1:secret:a"},
		"vault:pki/issue/timeline?common_name=timeline.prod.internal&ttl=24h": {
			Provider: "vault", Path: "pki/issue/timeline",
			Params: url.Values{"common_name": {"timeline.prod.internal"}, "ttl": {"24h"}}},
		"aws:odd%23name%40host%3F%25#fi%23eld": {Provider: "aws", Path: "odd#name@host?%", Field: "fi#eld"},
		"vault:kv/caf%C3%A9":                   {Provider: "vault", Path: "kv/café"},
		"vault:kv/a?x=1+1":                     {Provider: "vault", Path: "kv/a", Params: url.Values{"x": {"1+1"}}},
	} {
		got, err := secret.ParseRef(text)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("ParseRef(%q) = %+v, %v; want %+v", text, got, err, want)
			continue
		}
		if again, err := secret.ParseRef(got.String()); err != nil || !reflect.DeepEqual(again, got) {
			t.Errorf("%q does not round-trip: %q, %v", text, got.String(), err)
		}
	}
}

func TestParseRefRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"":                    "starts with its provider",
		"kv/shop/db":          "starts with its provider",
		"Vault:kv/a":          "lower-case",
		":kv/a":               "lower-case",
		"1v:kv/a":             "lower-case",
		"vault:":              "the path is empty",
		"vault:/kv/a":         "slash",
		"vault:kv/a/":         "slash",
		"vault:kv//a":         "empty segment",
		"vault:kv/../sys/raw": `".." is not allowed`,
		"vault:kv/%2e%2E/sys": `".." is not allowed`,
		"vault:kv/a%2F..%2Fb": `".." is not allowed`,
		"vault:kv/./a":        `"." is not allowed`,
		"vault:kv/a#":         `nothing follows '#'`,
		"vault:kv/a@":         `nothing follows '@'`,
		"vault:kv/a?":         `nothing follows '?'`,
		"vault:kv/a#b#c":      "out of place",
		"vault:kv/a@1#b":      "out of place",
		"vault:kv/a#b?x=1":    "out of place",
		"vault:kv/a@1@2":      "out of place",
		"vault:kv/%zz":        "two hex digits",
		"vault:kv/a%00b":      "control character",
		"vault:kv/a%FF":       "UTF-8",
		"vault:kv/a\nb":       "control character",
		"vault:kv/a?novalue":  "write name=value",
		"vault:kv/a?=v":       "write name=value",
	} {
		_, err := secret.ParseRef(text)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseRef(%q): %v; want an error with %q", text, err, want)
		}
	}
}

func TestPattern(t *testing.T) {
	for _, c := range []struct {
		pattern   string
		match, no []string
	}{
		{"vault:kv/shop/db", []string{"vault:kv/shop/db", "vault:kv/shop/db#password", "vault:kv/shop/db#a@3"},
			[]string{"vault:kv/shop/db2", "vault:kv/shop", "aws:kv/shop/db", "vault:kv/shop/db?x=1", "vault:kv/shop/db/x"}},
		{"vault:kv/shop/db#password", []string{"vault:kv/shop/db#password", "vault:kv/shop/db#password@2"},
			[]string{"vault:kv/shop/db", "vault:kv/shop/db#user"}},
		{"vault:kv/shop/*", []string{"vault:kv/shop/db", "vault:kv/shop/x#y"}, []string{"vault:kv/shop/a/b", "vault:kv/shop", "vault:kv/shopping/a"}},
		{"vault:kv/shop/**", []string{"vault:kv/shop/db", "vault:kv/shop/a/b/c"}, []string{"vault:kv/shop", "vault:kv/other/a"}},
		{"vault:kv/*/db", []string{"vault:kv/a/db"}, []string{"vault:kv/a/b/db", "vault:kv/db"}},
		{"vault:kv/shop/db@7", []string{"vault:kv/shop/db@7"}, []string{"vault:kv/shop/db", "vault:kv/shop/db@8"}},
		{"vault:pki/issue/t?common_name=*.t.internal", []string{"vault:pki/issue/t?common_name=a.t.internal", "vault:pki/issue/t"},
			[]string{"vault:pki/issue/t?common_name=evil", "vault:pki/issue/t?common_name=a.t.internal&ttl=9h",
				"vault:pki/issue/t?common_name=a.t.internal&common_name=evil"}},
		{"vault:kv/a%2Ab", []string{"vault:kv/a*b", "vault:kv/a%2Ab"}, []string{"vault:kv/aXb"}},
	} {
		pattern, err := secret.ParsePattern(c.pattern)
		if err != nil {
			t.Errorf("%s: %v", c.pattern, err)
			continue
		}
		if pattern.String() != c.pattern {
			t.Errorf("%s prints as %s", c.pattern, pattern)
		}
		for _, text := range c.match {
			if !pattern.Match(mustRef(t, text)) {
				t.Errorf("%s does not match %s", c.pattern, text)
			}
		}
		for _, text := range c.no {
			if pattern.Match(mustRef(t, text)) {
				t.Errorf("%s matches %s", c.pattern, text)
			}
		}
	}
	for _, text := range []string{"kv/shop", "vault:kv/../x", "vault:kv/a#", "vault:kv/%zz*"} {
		if _, err := secret.ParsePattern(text); err == nil {
			t.Errorf("ParsePattern(%q) is accepted", text)
		}
	}
}

func mustRef(t *testing.T, text string) secret.Ref {
	t.Helper()
	ref, err := secret.ParseRef(text)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

func FuzzRef(f *testing.F) {
	for _, seed := range []string{"vault:kv/shop/db#password@3", "aws:a?b=c&d=e#f", "v:%25%23*", "gcp:p/s@7", "vault:kv/%2e%2e/x"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		ref, err := secret.ParseRef(text)
		if err != nil {
			return
		}
		again, err := secret.ParseRef(ref.String())
		if err != nil || !reflect.DeepEqual(again, ref) {
			t.Fatalf("%q: %+v became %q: %+v, %v", text, ref, ref.String(), again, err)
		}
		for segment := range strings.SplitSeq(ref.Path, "/") {
			if segment == "" || segment == "." || segment == ".." {
				t.Fatalf("%q: path %q has segment %q", text, ref.Path, segment)
			}
		}
		// Its own text, all wildcards escaped by String, is a pattern that matches it.
		pattern, err := secret.ParsePattern(ref.String())
		if err != nil || !pattern.Match(ref) {
			t.Fatalf("%q as a pattern: %v", ref.String(), err)
		}
	})
}

// TestPathOfAPattern: what all refs that it can match have in common.
func TestPathOfAPattern(t *testing.T) {
	for text, want := range map[string]struct {
		beginning string
		whole     bool
	}{
		"vault:kv/shop/db":                  {"kv/shop/db", true},
		"vault:kv/shop/db#pass*@*":          {"kv/shop/db", true},
		"vault:kv/shop/d%2Ab":               {"kv/shop/d*b", true},
		"vault:pki/issue/web?common_name=*": {"pki/issue/web", true},
		"vault:kv/shop%20floor/**":          {"kv/shop floor/", false},
		"vault:kv/*/db":                     {"kv/", false},
		"vault:**":                          {"", false},
	} {
		pattern, err := secret.ParsePattern(text)
		if err != nil {
			t.Fatal(err)
		}
		if beginning, whole := pattern.Path(); beginning != want.beginning || whole != want.whole {
			t.Errorf("%s: %q, %v", text, beginning, whole)
		}
	}
}
