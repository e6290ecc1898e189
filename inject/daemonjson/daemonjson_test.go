package daemonjson

import (
	"encoding/json"
	"maps"
	"reflect"
	"strings"
	"testing"
)

var gate = Change{Name: "quaymaster", Path: "/usr/bin/quaymaster-runtime"}

// with returns gate with other arguments and default.
func with(isDefault bool, args ...string) Change {
	c := gate
	c.Args, c.Default = args, isDefault
	return c
}

func TestInstall(t *testing.T) {
	for _, test := range []struct {
		name, before string
		change       Change
		want         string
	}{
		{"nothing there", "", with(true, "--agent", "/run/a.sock"), `{
  "runtimes": {
    "quaymaster": {
      "path": "/usr/bin/quaymaster-runtime",
      "runtimeArgs": [
        "--agent",
        "/run/a.sock"
      ]
    }
  },
  "default-runtime": "quaymaster"
}
`},
		{"only what was asked", "{}\n", gate, `{"runtimes":{"quaymaster":{"path":"/usr/bin/quaymaster-runtime"}}}` + "\n"},
		{"others stay", `{
    "debug": true,
    "runtimes": {
        "kata": {"path": "/opt/kata"}
    },
    "default-runtime": "kata",
    "mtu":   1.450e3
}`, with(true), `{
    "debug": true,
    "runtimes": {
        "kata": {"path": "/opt/kata"},
        "quaymaster": {
            "path": "/usr/bin/quaymaster-runtime"
        }
    },
    "default-runtime": "quaymaster",
    "mtu":   1.450e3
}`},
		{"the binary has moved", `{"runtimes": {"quaymaster": {"path": "/opt/bin/quaymaster-runtime", "x": 1}}}`, gate,
			`{"runtimes": {"quaymaster": {"path": "/usr/bin/quaymaster-runtime", "x": 1}}}`},
		{"other arguments", `{"runtimes": {"quaymaster": {"path": "/usr/bin/quaymaster-runtime", "runtimeArgs": ["a"]}}}`, with(false, "b"),
			`{"runtimes": {"quaymaster": {"path": "/usr/bin/quaymaster-runtime", "runtimeArgs": ["b"]}}}`},
		{"no more arguments", `{"runtimes": {"quaymaster": {"path": "/usr/bin/quaymaster-runtime", "runtimeArgs": ["a"]}}}`, gate,
			`{"runtimes": {"quaymaster": {"path": "/usr/bin/quaymaster-runtime"}}}`},
		{"the default is kept without being asked for", `{"runtimes": {"quaymaster": {"path": "/usr/bin/quaymaster-runtime"}}, "default-runtime": "quaymaster"}`,
			gate, `{"runtimes": {"quaymaster": {"path": "/usr/bin/quaymaster-runtime"}}, "default-runtime": "quaymaster"}`},
		{"a byte order mark", "\ufeff{}", gate, "\ufeff" + `{"runtimes":{"quaymaster":{"path":"/usr/bin/quaymaster-runtime"}}}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := install([]byte(test.before), test.change)
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != test.want {
				t.Errorf("got\n%s\nwant\n%s", got, test.want)
			}
			if again, err := install(got, test.change); err != nil || string(again) != string(got) {
				t.Errorf("a second time: %v\n%s", err, again)
			}
		})
	}
}

// originals are files in all sorts of layouts.
var originals = []string{
	"", "\n", " \n\n", "{}", "{}\n", "{ }", "{\n}\n", "{\n\n  \n}", "\ufeff{\n\t\"debug\": true\n}\n", "\ufeff",
	`{"debug":true}`, `{ "debug" : true }`, "{\n  \"debug\": true\n}\n", "{\r\n  \"debug\": true\r\n}\r\n",
	`{"runtimes":{}}`, "{\n  \"runtimes\": {\n  }\n}", `{"runtimes": {"kata": {"path": "/opt/kata"}}, "x": [1, 2]}`,
	`{"default-runtime": "kata", "runtimes": {"kata": {"path": "/opt/kata"}}}`,
	`{"default-runtime":"k\u0061ta","runtimes":{"kata":{"path":"/opt/kata"}}}`,
	"{\n\t\"log-opts\": {\"max-size\": \"10m\"},\n\t\"default-runtime\" : \"runc\",\n\t\"runtimes\": {\n\t\t\"kata\": {\"path\": \"/opt/kata\"}\n\t}\n}",
}

func TestInstallAndUndoGiveIdenticalBytes(t *testing.T) {
	for _, original := range originals {
		for _, change := range []Change{gate, with(true), with(true, "--a", "b"), with(false, "--a")} {
			installed, err := install([]byte(original), change)
			if err != nil {
				t.Fatalf("%q: %v", original, err)
			}
			back, err := undo(installed, [][]byte{[]byte(original)}, change)
			if err != nil || string(back) != original {
				t.Errorf("%q became\n%s\nand then %q, %v", original, installed, back, err)
			}
		}
	}
}

// First without the default, then as the default, each with its backup.
func TestInstallTwiceAndUndo(t *testing.T) {
	for _, original := range originals {
		first, err := install([]byte(original), gate)
		if err != nil {
			t.Fatal(err)
		}
		second, err := install(first, with(true, "--a"))
		if err != nil {
			t.Fatal(err)
		}
		back, err := undo(second, [][]byte{[]byte(original), first}, gate)
		if err != nil || string(back) != original {
			t.Errorf("%q became\n%s\nand then %q, %v", original, second, back, err)
		}
	}
}

func TestUndo(t *testing.T) {
	const ours = `"quaymaster": {"path": "/usr/bin/quaymaster-runtime"}`
	for _, test := range []struct {
		name, text string
		backups    []string
		want       string
	}{
		{"none of it there", `{"debug": true}`, nil, `{"debug": true}`},
		{"none of it there, and empty", `{}`, nil, `{}`},
		{"somebody added to it", `{"runtimes": {` + ours + `, "kata": {"path": "/k"}}, "debug": true, "default-runtime": "quaymaster"}`,
			[]string{`{"default-runtime": "runc"}`},
			`{"runtimes": {"kata": {"path": "/k"}}, "debug": true, "default-runtime": "runc"}`},
		{"somebody chose another default", `{"runtimes": {` + ours + `}, "default-runtime": "kata"}`, []string{`{"default-runtime": "runc"}`},
			`{"default-runtime": "kata"}`},
		{"no backup, and the file was ours alone", `{"runtimes": {` + ours + `}, "default-runtime": "quaymaster"}`, nil, ``},
		{"no backup", `{"debug": true, "runtimes": {` + ours + `}, "default-runtime": "quaymaster"}`, nil, `{"debug": true}`},
		{"a backup that is spoilt, and an older one", `{"debug": true, "runtimes": {` + ours + `}, "default-runtime": "quaymaster"}`,
			[]string{`{"runtimes": {}, "default-runtime": "runc"}`, `{"runtimes": {},`}, `{"debug": true, "runtimes": {}, "default-runtime": "runc"}`},
		{"an old backup from an earlier round", `{"runtimes": {` + ours + `}, "default-runtime": "quaymaster"}`,
			[]string{`{"default-runtime": "runc"}`, `{"default-runtime": "kata"}`}, `{"default-runtime": "kata"}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			var backups [][]byte
			for _, backup := range test.backups {
				backups = append(backups, []byte(backup))
			}
			got, err := undo([]byte(test.text), backups, gate)
			if err != nil || string(got) != test.want {
				t.Errorf("got  %s, %v\nwant %s", got, err, test.want)
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{"{\n  \"debug\": yes\n}", `2:12: cannot be read as JSON: found 'y' where a value is expected`},
		{"# comment", `1:1: cannot be read as JSON: found '#' where a value is expected`},
		{`{"a": 1, "a": 2}`, `1:10: cannot be read as JSON: the name "a" stands twice in this object`},
		{`[]`, `1:1: an object wanted here, found an array`},
		{"{\n \"runtimes\": [] }", `2:14: "runtimes": an object wanted here, found an array`},
		{`{"default-runtime": 1}`, `1:21: "default-runtime": a string wanted here, found a number`},
		{"{\"runtimes\": {\n  \"quaymaster\": {\"path\": \"/opt/other\"}}}",
			`2:26: there is another runtime named "quaymaster" here, with path "/opt/other": rename it or take it out`},
		{"{\"runtimes\": {\"quaymaster\": {\"runtimeType\": \"io.containerd.x.v1\"}}}",
			`1:29: there is another runtime named "quaymaster" here, without a path: rename it or take it out`},
		{"{\"runtimes\": {\"quaymaster\": true}}",
			`1:29: there is another runtime named "quaymaster" here, without a path: rename it or take it out`},
	} {
		for name, plan := range map[string]func() ([]byte, error){
			"install": func() ([]byte, error) { return install([]byte(test.text), gate) },
			"undo":    func() ([]byte, error) { return undo([]byte(test.text), nil, gate) },
		} {
			if got, err := plan(); err == nil || err.Error() != test.want || got != nil {
				t.Errorf("%s of %s:\ngot  %v\nwant %s", name, test.text, err, test.want)
			}
		}
	}
}

func TestDiff(t *testing.T) {
	numbered := func(from, to int, except map[int]string) string {
		var b strings.Builder
		for i := from; i <= to; i++ {
			line, changed := except[i]
			if !changed {
				line = "line " + string(rune('a'+i-1)) + "\n"
			}
			b.WriteString(line)
		}
		return b.String()
	}
	for _, test := range []struct{ name, before, after, want string }{
		{"no change", "a\n", "a\n", ""},
		{"a new file", "", "{\n}\n", "@@ -0,0 +1,2 @@\n+{\n+}\n"},
		{"a file that goes", "{\n}\n", "", "@@ -1,2 +0,0 @@\n-{\n-}\n"},
		{"one line in the middle", numbered(1, 10, nil), numbered(1, 10, map[int]string{5: "new\n"}),
			"@@ -2,7 +2,7 @@\n line b\n line c\n line d\n-line e\n+new\n line f\n line g\n line h\n"},
		{"close together", numbered(1, 9, nil), numbered(1, 9, map[int]string{2: "", 8: "x\ny\n"}),
			"@@ -1,9 +1,9 @@\n line a\n-line b\n line c\n line d\n line e\n line f\n line g\n-line h\n+x\n+y\n line i\n"},
		{"far apart", numbered(1, 12, nil), numbered(1, 12, map[int]string{1: "", 12: "z\n"}),
			"@@ -1,4 +1,3 @@\n-line a\n line b\n line c\n line d\n@@ -9,4 +8,4 @@\n line i\n line j\n line k\n-line l\n+z\n"},
		{"without a last line end", "{}", `{"a": 1}`, "@@ -1,1 +1,1 @@\n-{}\n+{\"a\": 1}\n"},
	} {
		want := test.want
		if want != "" {
			want = "--- F\n+++ F (after the change)\n" + want
		}
		if got := diff("F", []byte(test.before), []byte(test.after)); got != want {
			t.Errorf("%s: got\n%s\nwant\n%s", test.name, got, want)
		}
	}
}

func TestDiffOfMuchText(t *testing.T) {
	before, after := strings.Repeat("a\n", 5000), strings.Repeat("b\n", 5000)
	got := diff("F", []byte(before), []byte(after))
	if strings.Count(got, "\n-a") != 5000 || strings.Count(got, "\n+b") != 5000 {
		t.Errorf("%d bytes of diff", len(got))
	}
}

// FuzzInstall: whatever the file holds, install changes nothing else, and undo
// gives the file back.
func FuzzInstall(f *testing.F) {
	for _, original := range originals {
		f.Add(original, true)
	}
	f.Fuzz(func(t *testing.T, original string, isDefault bool) {
		change := with(isDefault, "--a")
		installed, err := install([]byte(original), change)
		if err != nil {
			return
		}
		var before, after map[string]any
		decode(t, original, &before)
		decode(t, string(installed), &after)
		if entry := after[keyRuntimes].(map[string]any)["quaymaster"].(map[string]any); entry["path"] != gate.Path ||
			!reflect.DeepEqual(entry["runtimeArgs"], []any{"--a"}) || (isDefault && after[keyDefault] != "quaymaster") {
			t.Fatalf("%q became %s", original, installed)
		}
		if a, b := rest(before), rest(after); !reflect.DeepEqual(a, b) {
			t.Fatalf("%q became %s: %v is now %v", original, installed, a, b)
		}
		if old, _ := before[keyRuntimes].(map[string]any); old["quaymaster"] != nil || before[keyDefault] == "quaymaster" {
			return // undo takes out what is ours, whoever put it in
		}
		back, err := undo(installed, [][]byte{[]byte(original)}, change)
		if err != nil || string(back) != original {
			t.Errorf("%q became %q and then %q, %v", original, installed, back, err)
		}
	})
}

// rest is what is not ours.
func rest(document map[string]any) map[string]any {
	runtimes := map[string]any{}
	old, _ := document[keyRuntimes].(map[string]any)
	maps.Copy(runtimes, old)
	delete(runtimes, "quaymaster")
	others := map[string]any{}
	maps.Copy(others, document)
	delete(others, keyDefault)
	others[keyRuntimes] = runtimes
	return others
}

func decode(t *testing.T, text string, into any) {
	t.Helper()
	text = strings.TrimPrefix(text, byteOrderMark)
	if strings.TrimSpace(text) == "" {
		return
	}
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber() // JSON has numbers that no float64 can hold
	if err := decoder.Decode(into); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
}
