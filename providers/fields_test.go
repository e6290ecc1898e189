package providers_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"testing"

	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/providers"
)

func TestFields(t *testing.T) {
	for value, want := range map[string]map[string]string{
		"hunter2":                           {"value": "hunter2"},
		"":                                  {"value": ""},
		`{"user":"shop","port":5432}`:       {"user": "shop", "port": "5432"},
		`{"a":{"b":[1,2.50]},"c":null}`:     {"a": `{"b":[1,2.50]}`, "c": "null"},
		" {\"a\": \"line\\nbreak\"} ":       {"a": "line\nbreak"},
		`{}`:                                {"value": `{}`},
		`["a"]`:                             {"value": `["a"]`},
		`"text"`:                            {"value": `"text"`},
		`{"a":"b"}}`:                        {"value": `{"a":"b"}}`},
		"{\"a\":\"\xff\"}":                  {"value": "{\"a\":\"\xff\"}"},
		`null`:                              {"value": `null`},
		"-----BEGIN CERTIFICATE-----\nMAo=": {"value": "-----BEGIN CERTIFICATE-----\nMAo="},
	} {
		got := map[string]string{}
		for name, field := range providers.Fields([]byte(value)) {
			got[name] = string(field.Reveal()) // a test's own value
		}
		if !maps.Equal(got, want) {
			t.Errorf("%q has the fields %q, want %q", value, got, want)
		}
	}
}

// A value is either whole or taken apart without a loss, and what was taken
// apart is overwritten.
func FuzzFields(f *testing.F) {
	for _, seed := range []string{"hunter2", `{"a":"b"}`, `{"a":{"b":[1,2]},"c":null}`, `{"a":"\ud800"}`, "{\"a\":\"\xff\"}", " {} ", `{"a":1,"a":2}`, ""} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		owned := bytes.Clone(value)
		found := providers.Fields(owned)
		if whole, is := found[providers.OnlyField]; is && len(found) == 1 && whole.Equal(secret.NewValue(value)) {
			return
		}
		var members map[string]any
		if err := json.Unmarshal(value, &members); err != nil || len(members) != len(found) {
			t.Fatalf("%q became %d fields: %v", value, len(found), err)
		}
		for name, member := range members {
			content := found[name].Reveal() // to compare
			if text, is := member.(string); is && text != string(content) || !is && !json.Valid(content) {
				t.Fatalf("%q: field %q is %q", value, name, content)
			}
		}
		if !bytes.Equal(owned, make([]byte, len(value))) {
			t.Fatalf("%q is still there", value)
		}
	})
}
