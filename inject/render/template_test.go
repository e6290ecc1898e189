package render_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/broker/workload"
	"github.com/quaymaster/quaymaster/inject/render"
)

// hidden is in the value of every field, and must be in no error.
const hidden = "h1dd3n"

var templated = map[string]string{"user": "shop", "password": hidden + `'"$x`, "number": "7" + hidden, "b64": "dGV4dA==", "empty": "", "a-b": "dash"}

// lookup knows one further secret.
func lookup(ref secret.Ref) (secret.Value, error) {
	if ref.String() != "v:kv/other#token" {
		return secret.Value{}, fmt.Errorf("%s: %w", ref, errDenied)
	}
	return secret.NewValue([]byte("t0ken")), nil
}

var errDenied = errors.New("denied")

func executed(t *testing.T, text string) (string, error) {
	t.Helper()
	got, err := files(t, renderer(t, map[string]string{"app": text}), want(t, "v:kv/a", "template:app"),
		render.Input{Secret: plain(templated), Lookup: lookup})
	return got["Timeline"], err
}

func TestTemplates(t *testing.T) {
	for text, want := range map[string]string{
		`postgres://{{.user}}@db/{{urlquery .user}}`:                                    "postgres://shop@db/shop",
		`{{secret "v:kv/other#token"}} {{secret ` + "`v:kv/other#token`" + ` | upper}}`: "t0ken T0KEN",
		`{{json .password}}`:                         `"` + hidden + `'\"$x"`,
		`{{json .user}} {{(json .)}}`:                `"shop" {"a-b":"dash","b64":"dGV4dA==","empty":"","number":"7` + hidden + `","password":"` + hidden + `'\"$x","user":"shop"}`,
		`{{b64 .user}} {{b64dec .b64}}`:              "c2hvcA== text",
		`{{sh .password}}`:                           `'` + hidden + `'\''"$x'`,
		`P={{dotenv .password}}`:                     `P="` + hidden + `'\"\$x"`,
		`{{upper .user}}{{lower "A"}}{{trim " b "}}`: "SHOPab",
		"{{indent 2 \"a\\n\\nb\\n\"}}":               "  a\n\n  b\n",
		`{{default "x" .empty}}{{.user | default "x"}}{{index . "none" | default "y"}}`: "xshopy",
		`{{index . "a-b"}}`:                   "dash",
		`{{printf "%s:%5d|%x" .user 42 "A"}}`: "shop:   42|41",
		`{{print .user 1 2}}{{println "a"}}`:  "shop1 2a\n",
		`{{range $k, $v := .}}{{$k}},{{end}}`: "a-b,b64,empty,number,password,user,",
		`{{range 3}}{{.}}{{end}}{{range $i := 2}}{{if eq $i 1}}{{break}}{{end}}x{{end}}`:    "012x",
		`{{define "x"}}[{{.}}]{{end}}{{template "x" .user}}{{block "y" .}}{{.user}}{{end}}`: "[shop]shop",
		`{{with .empty}}x{{else with .user}}{{.}}{{end}}`:                                   "shop",
		`{{- /* nothing */ -}} a {{- " b" }}`:                                               "a b",
		`{{html "<"}}{{js "'"}}`:                                                            `&lt;\'`,
		`{{if and .user (not .empty)}}y{{end}}`:                                             "y",
	} {
		if got, err := executed(t, text); err != nil || got != want {
			t.Errorf("%s: %q, %v; want %q", text, got, err, want)
		}
	}
}

func TestTemplatesTakePEMApart(t *testing.T) {
	made := issue(t, "ecdsa")
	for text, want := range map[string]string{
		`{{pem .certificate .ca_chain .private_key}}`: pemOf(made.leaf, made.intermediate.certificate, made.root.certificate) + pemOfKey(t, made.key),
		`{{certs .private_key .certificate}}`:         pemOf(made.leaf),
		`{{key .certificate .private_key}}`:           pemOfKey(t, made.key),
	} {
		got, err := files(t, renderer(t, map[string]string{"app": text}), templateWant(t), render.Input{Secret: plain(made.fields)})
		if err != nil || got["Timeline"] != want {
			t.Errorf("%s: %v\n%s", text, err, got["Timeline"])
		}
	}
}

// TestTemplatesRefuse: each error says where, and none holds a value.
func TestTemplatesRefuse(t *testing.T) {
	const kind = "this cannot be done with such a value (a field is a piece of text)"
	for text, want := range map[string]string{
		// found when it is read
		"a\nb{{.x":                             "template: app:2: unclosed action",
		`{{nope .user}}`:                       `template: app:1: function "nope" not defined`,
		``:                                     "template: app: it is empty",
		"\n{{secret .user}}":                   "template: app:2:2: the ref of secret must stand there in quotes",
		`{{secret (print "v:kv/a")}}`:          "template: app:1:2: the ref of secret must stand there in quotes",
		`{{"v:kv/a" | secret}}`:                "template: app:1:13: secret takes one ref in quotes and nothing else",
		`{{.user | secret "v:kv/a"}}`:          "secret takes one ref in quotes and nothing else",
		`{{secret "v:kv/a" .user}}`:            "secret takes one ref in quotes and nothing else",
		`{{secret}}`:                           "secret takes one ref in quotes and nothing else",
		`{{print secret}}`:                     "secret takes one ref in quotes and nothing else",
		`{{if secret "kv/a"}}{{end}}`:          `template: app:1:5: ref "kv/a": a ref starts with its provider`,
		`{{range (print (secret .x))}}{{end}}`: "the ref of secret must stand there in quotes",
		`{{define "x"}}{{secret .y}}{{end}}`:   "template: app:1:16: the ref of secret must stand there in quotes",
		`{{template "x"}}`:                     `template: app:1:11: there is no {{define "x"}}`,
		`{{define "x"}}{{template "y"}}{{end}}{{define "y"}}{{template "x"}}{{end}}a`: "calls itself, and would never end",
		// found when it runs
		"\n {{.none}}":                         `template: app:2:3: there is no field "none"; the fields are: a-b, b64, empty, number, password, user`,
		`{{.password.x}}`:                      "template: app:1:11: " + kind,
		`{{range .password}}{{end}}`:           "template: app:1:8: " + kind,
		`{{range $i, $x := .password}}{{end}}`: kind,
		`{{.password.x | json}}`:               kind,
		`{{call .password}}`:                   kind,
		`{{index .password "x"}}`:              kind,
		`{{slice .password 1000}}`:             kind,
		`{{eq .password 1}}`:                   kind,
		`{{index . 1}}`:                        kind,
		`{{indent .password .user}}`:           kind,
		`{{indent 101 .password}}`:             "template: app:1:2: indent: 101 is not between 0 and 100",
		`{{b64dec .password}}`:                 "template: app:1:2: b64dec: it is not base64",
		`{{pem .password}}`:                    "template: app:1:2: pem: there is nothing of that kind in PEM",
		`{{json 1}}`:                           "template: app:1:2: json takes text, or . for all fields",
		`{{json "\xff"}}`:                      "json: it is not text",
		`{{sh "\x00"}}`:                        "sh: no shell can hold a zero byte",
		`{{dotenv "\x00"}}`:                    "dotenv: no variable can hold a zero byte",
		`{{secret "v:kv/no#x"}}`:               "template: app:1:2: v:kv/no#x: denied",
		`{{printf "%*d" 9 1}}`:                 "printf: write widths out",
		`{{$x := "long"}}{{range 11}}{{$x = print $x $x}}{{end}}{{printf $x}}`: "printf: the format has more than 4096 bytes",
		`{{printf "%2000d" 1}}`: "printf: a number in the format has more than three digits",
		`{{step 1 .password}}`:  `template: app:1: function "step" not defined`,
	} {
		got, err := executed(t, text)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "template: app:") || got != "" {
			t.Errorf("%s: %q, %v; want %s", text, got, err, want)
		}
		if err != nil && strings.Contains(err.Error(), hidden) {
			t.Errorf("%s: the error holds a value: %v", text, err)
		}
	}
}

// TestTemplatesEnd: whatever an operator writes by mistake, a render comes to
// an end, and soon enough for a container that waits.
func TestTemplatesEnd(t *testing.T) {
	bomb := `{{define "t0"}}{{end}}`
	for i := range 40 {
		bomb += fmt.Sprintf(`{{define "t%d"}}{{template "t%d"}}{{template "t%d"}}{{end}}`, i+1, i, i)
	}
	for name, text := range map[string]string{
		"a long range":            "a\n{{range 1000000000}}{{end}}",
		"a long range in a range": `{{range 100000}}{{range 100000}}{{if .}}{{end}}{{end}}{{end}}`,
		"definitions in twos":     bomb + `{{template "t40"}}`,
		"text in twos":            `{{$x := "ab"}}{{range 60}}{{$x = print $x $x}}{{end}}`,
		"formats in twos":         `{{$x := "ab"}}{{range 60}}{{$x = printf "%s%[1]s%[1]x" $x}}{{end}}`,
		"wide formats":            `{{range 1000}}{{$x := printf "` + strings.Repeat("%999d", 800) + `" 1}}{{end}}`,
		"escapes in twos":         `{{$x := "<"}}{{range 60}}{{$x = html $x $x}}{{end}}`,
		"base64 in base64":        `{{$x := .user}}{{range 90}}{{$x = b64 $x}}{{end}}`,
		"much output":             `{{range 1000000}}` + strings.Repeat("x", 1000) + `{{end}}`,
	} {
		_, err := executed(t, text)
		if err == nil || (!strings.Contains(err.Error(), "the template does too much: more than 16777216 bytes") &&
			!strings.Contains(err.Error(), "the content has more than 1048576 bytes")) {
			t.Errorf("%s: %v", name, err)
		}
		if name == "a long range" && !strings.HasPrefix(err.Error(), "template: app:2:") {
			t.Errorf("%s: no line: %v", name, err)
		}
	}
}

func TestRefsOfATemplate(t *testing.T) {
	r := renderer(t, map[string]string{"app": `{{secret "v:kv/b#x"}}{{if .a}}{{end}}{{define "d"}}{{secret "v:kv/a"}}{{end}}
		{{with $x := secret "w:c"}}{{print (secret "v:kv/b#x" | upper)}}{{else}}{{range 1}}{{secret "v:kv/d@1"}}{{end}}{{end}}`})
	refs, err := r.Refs(want(t, "v:kv/a", "template:app").Format)
	if err != nil || fmt.Sprint(refs) != "[v:kv/a v:kv/b#x v:kv/d@1 w:c]" {
		t.Errorf("%v, %v", refs, err)
	}
	if refs, err := r.Refs(want(t, "v:kv/a", "json").Format); err != nil || len(refs) != 0 {
		t.Errorf("without a template: %v, %v", refs, err)
	}
}

func TestATemplateSeesTheChosenFieldOnly(t *testing.T) {
	got, err := files(t, renderer(t, map[string]string{"app": `{{range $k, $v := .}}{{$k}}={{$v}}{{end}}`}),
		want(t, "v:kv/a#user", "template:app"), render.Input{Secret: plain(templated)})
	if err != nil || got["Timeline"] != "user=shop" {
		t.Errorf("%q, %v", got, err)
	}
}

// FuzzTemplate: whatever a template says, it ends, and what goes wrong is told
// without a value.
func FuzzTemplate(f *testing.F) {
	for _, seed := range []string{
		`{{.user}}`, `{{range .password}}{{end}}`, `{{secret "v:kv/other#token"}}`, `{{define "x"}}{{template "x"}}{{end}}`, `{{range 9}}{{.}}{{break}}{{end}}`,
		`{{$x := .user}}{{$x = print $x $x}}{{with $x}}{{.}}{{else}}a{{end}}`, `{{printf "%10.3s|%q" .password 1}}`, `{{json .}}{{b64 .user}}{{indent 3 "a"}}`,
		`{{if eq .user "a" "b"}}{{else if lt 1 2}}{{end}}`, `{{index . "a-b" | default "x" | sh | dotenv}}`, `{{slice .password 1 2}}{{len .password}}`, `{{step 1 ""}}`,
	} {
		f.Add(seed)
	}
	dir := f.TempDir()
	r, err := render.New(render.Options{Templates: dir})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(text, hidden) {
			return
		}
		write(t, filepath.Join(dir, "app.tmpl"), text)
		w := want(t, "v:kv/a", "template:app")
		got, err := r.Files(w, 0o400, render.Input{Secret: plain(templated), Lookup: lookup})
		if err != nil && (strings.Contains(err.Error(), hidden) || !strings.HasPrefix(err.Error(), "template")) {
			t.Fatalf("%q: %v", text, err)
		}
		if err == nil && (len(got) != 1 || got[0].Value.Len() > secret.MaxValueSize) {
			t.Fatalf("%q makes %v", text, got)
		}
	})
}

func templateWant(t *testing.T) workload.Want { return want(t, "v:pki/issue/t", "template:app") }
