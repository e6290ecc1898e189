package render_test

import (
	"encoding/json"
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/broker/workload"
	"github.com/quaymaster/quaymaster/inject/render"
)

var several = map[string]string{"USER": "shop", "PASSWORD": "a \"b\" $c `d` \\e\n'f'", "PORT": "5432"}

func TestOneContent(t *testing.T) {
	only := map[string]string{"value": "text\r\n\n"}
	for _, c := range []struct {
		ref, format string
		fields      map[string]string
		want        string
	}{
		{"v:kv/a", "", only, "text\r\n\n"},
		{"v:kv/a#USER", "", several, "shop"},
		{"v:kv/a#certificate", "", map[string]string{"certificate": "C", "private_key": "K"}, "C"},
		{"v:kv/a", "raw,newline", only, "text\n"},
		{"v:kv/a", "raw,no-newline", only, "text"},
		{"v:kv/a#USER", "raw,newline", several, "shop\n"},
		{"v:kv/a", "raw", map[string]string{"value": ""}, ""},
		{"v:kv/a", "raw,base64", map[string]string{"value": "AP/+"}, "\x00\xff\xfe"},
		{"v:kv/a", "raw,base64", map[string]string{"value": "_-8"}, "\xff\xef"},
		{"v:kv/a", "raw,base64", map[string]string{"value": " dGV4\r\n\tdA==\n"}, "text"},
		{"v:kv/a", "json", several, `{"PASSWORD":"a \"b\" $c ` + "`d`" + ` \\e\n'f'","PORT":"5432","USER":"shop"}`},
		{"v:kv/a#PORT", "json,newline", several, "{\"PORT\":\"5432\"}\n"},
		{"v:kv/a", "json", map[string]string{"é": "<&>\x01\u2028"}, "{\"é\":\"<&>\\u0001\u2028\"}"},
		{"v:kv/a", "dotenv", several, "PASSWORD=\"a \\\"b\\\" \\$c \\`d\\` \\\\e\n'f'\"\nPORT=5432\nUSER=shop\n"},
		{"v:kv/a#USER", "dotenv,no-newline", several, "USER=shop"},
		{"v:kv/a", "dotenv", map[string]string{"A": "two words", "B": "", "C": "#x", "_D": "https://u:p@h/x?y=1"},
			"A='two words'\nB=''\nC='#x'\n_D='https://u:p@h/x?y=1'\n"},
		{"v:kv/a", "json,base64", map[string]string{"a": "eA==", "b": "eQ"}, `{"a":"x","b":"y"}`},
	} {
		r := renderer(t, nil)
		got, err := files(t, r, want(t, c.ref, c.format), render.Input{Secret: plain(c.fields)})
		if err != nil || !maps.Equal(got, map[string]string{"Timeline": c.want}) {
			t.Errorf("%s as %s: %q, %v; want %q", c.ref, c.format, got, err, c.want)
		}
		w := want(t, c.ref, c.format)
		w.Kind = workload.Variable
		value, err := r.Variable(w, render.Input{Secret: plain(c.fields)})
		if err != nil || string(value.Reveal()) != c.want { // the test looks at it
			t.Errorf("as a variable, %s as %s: %v", c.ref, c.format, err)
		}
	}
}

func TestOneContentRefuses(t *testing.T) {
	big := strings.Repeat("x", secret.MaxValueSize)
	for _, c := range []struct {
		ref, format string
		fields      map[string]string
		want        string
		missing     bool
	}{
		{"v:kv/a", "", several, "the secret has 3 fields; choose one by adding #<field> to the ref: PASSWORD, PORT, USER, " +
			"or give it a format, such as json or dotenv, with the label quaymaster.format.Timeline", true},
		{"v:kv/a", "raw", nil, "the secret has 0 fields; choose one by adding #<field> to the ref: ", true},
		{"v:kv/a#none", "json", several, `there is no field "none"; the fields are: PASSWORD, PORT, USER`, true},
		{"v:kv/a", "raw", map[string]string{"value": big + "x"}, "the content has more than 1048576 bytes, which is the limit", false},
		{"v:kv/a", "raw,newline", map[string]string{"value": big}, "the content has more than 1048576 bytes, which is the limit", false},
		{"v:kv/a", "json", map[string]string{"value": big}, "the content has more than 1048576 bytes, which is the limit", false},
		{"v:kv/a", "dotenv", map[string]string{"value": big}, "the content has more than 1048576 bytes, which is the limit", false},
		{"v:kv/a", "json", map[string]string{"bin": "\xff"}, `field "bin" is not text, and JSON can hold nothing else: deliver it in the format raw`, false},
		{"v:kv/a", "dotenv", map[string]string{"bin": "a\x00b"}, `field "bin" contains a zero byte, which no variable can: deliver it in the format raw`, false},
		{"v:kv/a", "dotenv", map[string]string{"tls.key": "x"},
			`field "tls.key" cannot be the name of a variable in a dotenv file: choose fields, or use json or a template`, false},
		{"v:kv/a", "raw,base64", map[string]string{"value": "plaintext!"}, `field "value": it is not base64`, false},
		{"v:kv/a", "raw,base64", map[string]string{"value": "eA==="}, `field "value": it is not base64`, false},
		{"v:kv/a", "raw,base64", map[string]string{"value": "eA==eA=="}, `field "value": it is not base64`, false},
	} {
		got, err := files(t, renderer(t, nil), want(t, c.ref, c.format), render.Input{Secret: plain(c.fields)})
		if err == nil || err.Error() != c.want || errors.Is(err, render.ErrField) != c.missing || len(got) != 0 {
			t.Errorf("%s as %s: %v; want %s", c.ref, c.format, err, c.want)
		}
	}
}

func TestWhatIsReturnedSharesNothing(t *testing.T) {
	s := plain(map[string]string{"value": "text"})
	rendered, err := renderer(t, nil).Files(want(t, "v:kv/a", "raw"), 0o400, render.Input{Secret: s})
	if err != nil {
		t.Fatal(err)
	}
	rendered[0].Value.Wipe()
	if got := string(s.Fields["value"].Reveal()); got != "text" { // the test looks at it
		t.Errorf("the secret is now %q", got)
	}
}

// source is what a shell makes of a dotenv file: the value of NAME.
func source(t *testing.T, dir, content string) string {
	t.Helper()
	path := filepath.Join(dir, "env")
	write(t, path, content)
	command := exec.Command("sh", "-c", `set -eu; . "$1"; printf %s "$NAME"`, "sh", path)
	command.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent", "c=replaced"}
	command.Stderr = os.Stderr
	out, err := command.Output()
	if err != nil {
		t.Fatalf("sh: %v: %q", err, content)
	}
	return string(out)
}

var hostile = []string{"plain", "", "two words", "'", `"`, `\`, `\\`, `a\`, "$c", "${c}", "$(exit 1)", "`exit 1`", "a'b`exit 1`", `'\''`,
	"#comment", "a #b", "~", "*", "!", "a\nb", "a\r\nb", "\n", "\t", "é☃", "x;exit 1", "&", "|", "'\"$`\\", "=", "export A=1", "\\n", "\x01\x7f\xff"}

func TestAShellReadsDotenv(t *testing.T) {
	dir := t.TempDir()
	for _, value := range hostile {
		got, err := files(t, renderer(t, nil), want(t, "v:kv/a", "dotenv"), render.Input{Secret: plain(map[string]string{"NAME": value})})
		if err != nil {
			t.Errorf("%q: %v", value, err)
			continue
		}
		if back := source(t, dir, got["Timeline"]); back != value {
			t.Errorf("%q becomes %q, which a shell reads as %q", value, got["Timeline"], back)
		}
	}
}

func FuzzDotenv(f *testing.F) {
	for _, value := range hostile {
		f.Add(value)
	}
	f.Fuzz(func(t *testing.T, value string) {
		if strings.Contains(value, "\x00") {
			return
		}
		got, err := files(t, renderer(t, nil), want(t, "v:kv/a", "dotenv"), render.Input{Secret: plain(map[string]string{"NAME": value})})
		if err != nil {
			t.Fatalf("%q: %v", value, err)
		}
		if back := source(t, t.TempDir(), got["Timeline"]); back != value {
			t.Fatalf("%q becomes %q, which a shell reads as %q", value, got["Timeline"], back)
		}
	})
}

func FuzzJSON(f *testing.F) {
	for _, value := range hostile {
		f.Add(value, value)
	}
	f.Fuzz(func(t *testing.T, name, value string) {
		in := map[string]string{name: value, "other": "x"}
		got, err := files(t, renderer(t, nil), want(t, "v:kv/a", "json"), render.Input{Secret: plain(in)})
		var back map[string]string
		if err == nil && (json.Unmarshal([]byte(got["Timeline"]), &back) != nil || !maps.Equal(in, back)) {
			t.Fatalf("%q becomes %q", in, got["Timeline"])
		}
	})
}
