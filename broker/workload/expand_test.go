package workload_test

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/broker/workload"
)

// shop is a container that says much of itself.
func shop() workload.Selectors {
	return workload.Attest(workload.Facts{
		Name: "shop-timeline-1", Image: "registry/shop:3", User: &workload.User{UID: 7},
		ImageLabels: map[string]string{"tier": "blue", "env": "test"},
		Labels: map[string]string{
			"com.docker.compose.project": "shop", "com.docker.compose.service": "timeline",
			"tier": "blue", "env": "prod & more?#@%/*", "empty": "",
		},
	})
}

func expanded(text string) (secret.Ref, error) {
	wants, err := workload.ParseLabels(map[string]string{"quaymaster.secret.x": text}, shop())
	if err != nil {
		return secret.Ref{}, err
	}
	return wants.Items[0].Ref, nil
}

func TestRefsNameSelectors(t *testing.T) {
	for text, want := range map[string]string{
		"vault:pki/issue/timeline?common_name={{compose.service}}.prod.internal": "vault:pki/issue/timeline?common_name=timeline.prod.internal",
		"vault:kv/{{ compose.project }}/{{name}}#{{compose.service}}":            "vault:kv/shop/shop-timeline-1#timeline",
		"vault:kv/a?x={{label.env}}":                                             "vault:kv/a?x=prod%20%26%20more%3F%23%40%25/%2A",
		"vault:kv/a?x={{image.ref}}":                                             "vault:kv/a?x=registry/shop:3",
		"vault:kv/{{image.label.tier}}":                                          "vault:kv/blue",
		"vault:kv/%7B{x}}":                                                       "vault:kv/{{x}}",
	} {
		if got, err := expanded(text); err != nil || got.String() != want {
			t.Errorf("%s: %s, %v; want %s", text, got, err, want)
		}
	}
	got, err := workload.ParseLabels(map[string]string{"quaymaster.secret.x": ref, "quaymaster.format.x": "jks",
		"quaymaster.password.x": "vault:kv/{{compose.service}}#p"}, shop())
	if err != nil || got.Items[0].Password.Path != "kv/timeline" {
		t.Errorf("a keystore's password: %+v, %v", got.Items, err)
	}
}

func TestRefsNameSelectorsRefuse(t *testing.T) {
	const has = "it has: compose.project, compose.service, image.label.env, image.label.tier, image.ref, label.env, name"
	for text, want := range map[string]string{
		"vault:kv/{{swarm.service}}": `this container has no selector "swarm.service"; ` + has,
		"vault:kv/{{label.tier}}":    `no selector "label.tier"`, // the image's own
		"vault:kv/{{label.empty}}":   `no selector "label.empty"`,
		"vault:kv/{{}}":              `no selector ""`,
		"vault:kv/{{label.env}}":     "a slash in it would name another path",
		"vault:kv/{{image.ref}}":     "a slash in it would name another path",
		"vault:kv/{{user}}":          "the user is not known of a container that runs already",
		"{{compose.project}}:kv/a":   "stands where the provider is named",
		"vault:kv/{{name":            "{{ is not closed by }}",
	} {
		if got, err := expanded(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %s, %v; want %q", text, got, err, want)
		}
	}
}

// FuzzExpand: whatever a container says of itself, it fills its place in the
// ref and changes nothing else.
func FuzzExpand(f *testing.F) {
	for _, seed := range []string{"timeline", "a&ttl=9h", "a#b@1", "../x", "..", "a%2fb", "{{name}}", "a}}b", "*", "é\x00"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		parse := func(text, value string) (secret.Ref, bool) {
			wants, err := workload.ParseLabels(map[string]string{"quaymaster.secret.x": text}, workload.Selectors{"name": value})
			if err != nil {
				return secret.Ref{}, false
			}
			return wants.Items[0].Ref, true
		}
		got, ok := parse("vault:kv/{{name}}/db", value)
		if ok && (strings.Contains(value, "/") || !reflect.DeepEqual(got, secret.Ref{Provider: "vault", Path: "kv/" + value + "/db"})) {
			t.Fatalf("in a path %q makes %+v", value, got)
		}
		const text = "vault:pki/issue/t?common_name={{name}}.internal&ttl=1h#{{name}}@{{name}}"
		if got, ok = parse(text, value); !ok {
			return
		}
		params := slices.Sorted(maps.Keys(got.Params))
		if got.Path != "pki/issue/t" || !slices.Equal(params, []string{"common_name", "ttl"}) || len(got.Params["common_name"]) != 1 ||
			got.Params.Get("common_name") != value+".internal" || got.Params.Get("ttl") != "1h" || got.Field != value || got.Version != value {
			t.Fatalf("%q makes %+v", value, got)
		}
	})
}

func FuzzParseLabels(f *testing.F) {
	for _, seed := range [][2]string{
		{"secret.a", "vault:kv/a#b"}, {"secret.a", "vault:kv/{{name}}"}, {"owner", "1:2"}, {"path", "/a/b"}, {"mode", "0440"},
		{"format.x", "template:a,base64,no-newline"}, {"format.x", "pem"}, {"password.x", "vault:kv/p"}, {"refresh.x", "15s"},
		{"on-rotate", "signal:RTMIN+1"}, {"on-rotate", "signal:9"}, {"optional.x", "true"},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, key, value string) {
		wants, err := workload.ParseLabels(map[string]string{
			"quaymaster.secret.x": ref, "quaymaster." + key: value}, workload.Selectors{"name": "n"})
		if err != nil {
			return
		}
		for _, w := range wants.Items {
			if w.Kind == workload.File && (strings.Contains(w.Name, "/") || strings.HasPrefix(w.Name, "..")) {
				t.Fatalf("file name %q", w.Name)
			}
			if w.Format.Kind == workload.FormatTemplate && (w.Format.Template == "" || strings.ContainsAny(w.Format.Template, "/\x00")) {
				t.Fatalf("template %q", w.Format.Template)
			}
			if _, err := secret.ParseRef(w.Ref.String()); err != nil {
				t.Fatalf("ref %q", w.Ref)
			}
		}
		if !strings.HasPrefix(wants.Path, "/") || wants.Mode&0o222 != 0 || wants.OnRotate.Kind == "" ||
			(wants.OnRotate.Kind == workload.StrategySignal) != (wants.OnRotate.Signal != "") {
			t.Fatalf("%+v", wants)
		}
	})
}
