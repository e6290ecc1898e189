package jsonedit_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/quaymaster/quaymaster/inject/jsonedit"
)

func parse(t testing.TB, text string) jsonedit.Node {
	t.Helper()
	root, err := jsonedit.Parse([]byte(text))
	if err != nil {
		t.Fatalf("Parse(%q): %v", text, err)
	}
	return root
}

func TestParseRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"":                          "line 1, column 1: the text ends where a value is expected",
		" \n\t":                     "line 2, column 2: the text ends where a value is expected",
		"\xef\xbb\xbf{}":            "byte order mark",
		"{}{}":                      "line 1, column 3: found '{' where the end of the text is expected",
		"{\n  \"a\": 1,\n}":         "line 3, column 1: found '}' where a name in double quotes is expected",
		"[1,]":                      "line 1, column 4: found ']' where a value is expected",
		"[1 2]":                     "line 1, column 4: found '2' where ',' or ']' is expected",
		`{"a" 1}`:                   "line 1, column 6: found '1' where ':' is expected",
		`{"ä": x}`:                  "line 1, column 7: found 'x' where a value is expected",
		`{"a":1`:                    "line 1, column 7: the text ends where ',' or '}' is expected",
		`{a:1}`:                     "found 'a' where a name",
		`{'a':1}`:                   "found '\\'' where a name",
		"// note\n{}":               "line 1, column 1: found '/'",
		`[01]`:                      "does not begin with a zero",
		`[1.]`:                      "found ']' where a digit is expected",
		`[-]`:                       "where a digit is expected",
		`[+1]`:                      "found '+'",
		`[1e]`:                      "where a digit is expected",
		`[NaN]`:                     "found 'N'",
		`"abc`:                      "line 1, column 1: this string is not closed",
		"\"a\nb\"":                  "line 1, column 3: a control character",
		`"\x"`:                      "no JSON escape begins like this",
		`"\u12"`:                    "no JSON escape begins like this",
		`"\u12g4"`:                  "four hex digits",
		`"\`:                        "no JSON escape begins like this",
		"\"\xff\"":                  "line 1, column 2: this string is not valid UTF-8",
		"[\xff]":                    "where a value is expected",
		"{\"a\":1,\n\"\\u0061\":2}": `line 2, column 1: the name "a" stands twice`,
		strings.Repeat("[", 257) + strings.Repeat("]", 257): "line 1, column 257: nested more than 256 deep",
		object(20, 1) + "x": "where the end of the text is expected",
		strings.TrimSuffix(object(20, 1), "}") + `,"k7":0}`: `the name "k7" stands twice`,
	} {
		_, err := jsonedit.Parse([]byte(text))
		var syntax *jsonedit.SyntaxError
		if !errors.As(err, &syntax) || !strings.Contains(err.Error(), want) {
			t.Errorf("Parse(%q): %v; want %q", text, err, want)
		}
	}
	parse(t, strings.Repeat("[", 256)+strings.Repeat("]", 256))
}

// object has n members k0, k1, …
func object(n, value int) string {
	var members []string
	for i := range n {
		members = append(members, fmt.Sprintf(`"k%d":%d`, i, value))
	}
	return "{" + strings.Join(members, ",") + "}"
}

func TestReading(t *testing.T) {
	root := parse(t, ` {"process": {"user": {"uid": 65532, "big": 4294967296, "neg": -1, "half": 1.5},
		"env": ["PATH=/bin", "Q=\"\\\/\b\f\n\r\tä\u00e4\ud83d\ude00\ud800"]}, "on": true, "off": false, "none": null, "": [ ]} `)
	if got := string(root.Get("process", "user", "uid").Raw()); got != "65532" {
		t.Errorf("raw uid %q", got)
	}
	if uid, err := root.Get("process", "user", "uid").Uint32(); uid != 65532 || err != nil {
		t.Errorf("uid %d, %v", uid, err)
	}
	for _, name := range []string{"big", "neg", "half", "missing"} {
		if _, err := root.Get("process", "user", name).Uint32(); !errors.Is(err, jsonedit.ErrNotUint32) {
			t.Errorf("%s is a uint32: %v", name, err)
		}
	}
	var env []string
	for element := range root.Get("process", "env").Elements() {
		text, ok := element.Text()
		if !ok {
			t.Errorf("%s is no string", element.Raw())
		}
		env = append(env, text)
	}
	if want := []string{"PATH=/bin", "Q=\"\\/\b\f\n\r\tää😀\ufffd"}; !slices.Equal(env, want) {
		t.Errorf("env %q, want %q", env, want)
	}
	kinds := map[string]jsonedit.Kind{}
	for name, node := range root.Members() {
		kinds[name] = node.Kind()
	}
	if want := map[string]jsonedit.Kind{"process": jsonedit.Object, "on": jsonedit.Bool, "off": jsonedit.Bool,
		"none": jsonedit.Null, "": jsonedit.Array}; !maps.Equal(kinds, want) {
		t.Errorf("kinds %v, want %v", kinds, want)
	}
	missing := root.Get("on", "deeper")
	if _, ok := missing.Text(); ok || missing.Kind() != jsonedit.Missing || len(slices.Collect(missing.Elements())) != 0 {
		t.Errorf("what is not there is %v", missing.Kind())
	}
	for range root.Get("on").Members() {
		t.Error("a boolean has members")
	}
	start, end := root.Get("process", "user", "half").Range()
	if end-start != len("1.5") {
		t.Errorf("range %d:%d", start, end)
	}
}

func TestInsertAndRemove(t *testing.T) {
	const value = `{"path":"/x","list":[1,{}]}`
	for text, want := range map[string]string{
		`{}`:                   `{"new":{"path":"/x","list":[1,{}]}}`,
		`{ }`:                  `{"new":{"path":"/x","list":[1,{}]} }`,
		`{"a":1}`:              `{"a":1,"new":{"path":"/x","list":[1,{}]}}`,
		`{"a": 1}`:             `{"a": 1, "new": {"path": "/x", "list": [1, {}]}}`,
		`{ "a" : 1 , "b" : 2}`: `{ "a" : 1 , "b" : 2, "new" : {"path" : "/x", "list" : [1, {}]}}`,
		"{\n}\n":               "{\n  \"new\":{\n    \"path\":\"/x\",\n    \"list\":[\n      1,\n      {}\n    ]\n  }\n}\n",
		"{\n\t\"a\": 1\n}":     "{\n\t\"a\": 1,\n\t\"new\": {\n\t\t\"path\": \"/x\",\n\t\t\"list\": [\n\t\t\t1,\n\t\t\t{}\n\t\t]\n\t}\n}",
		"{\r\n    \"a\": 1\r\n}": "{\r\n    \"a\": 1,\r\n    \"new\": {\r\n        \"path\": \"/x\",\r\n        \"list\": [\r\n            1," +
			"\r\n            {}\r\n        ]\r\n    }\r\n}",
		"{\"a\": 1,\n\n \"b\": 2 }": "{\"a\": 1,\n\n \"b\": 2,\n\n \"new\": {\n   \"path\": \"/x\",\n   \"list\": [\n     1,\n     {}\n   ]\n } }",
	} {
		edit, err := parse(t, text).Insert("new", value)
		got := apply(t, text, edit, err)
		if got != want {
			t.Errorf("Insert into %q:\n got %q\nwant %q", text, got, want)
		}
		edit, err = parse(t, got).Remove("new")
		if back := apply(t, got, edit, err); back != text {
			t.Errorf("Remove from %q leaves %q, not %q", got, back, text)
		}
	}
}

func TestRemove(t *testing.T) {
	for _, c := range [][3]string{
		{`{"a": 1, "b": 2, "c": 3}`, "a", `{"b": 2, "c": 3}`},
		{`{"a": 1, "b": 2, "c": 3}`, "b", `{"a": 1, "c": 3}`},
		{`{"a": 1, "b": 2, "c": 3}`, "c", `{"a": 1, "b": 2}`},
		{"{\n  \"a\": 1,\n  \"b\": 2\n}", "a", "{\n  \"b\": 2\n}"},
		{"{\n  \"a\": 1,\n  \"b\": 2\n}", "b", "{\n  \"a\": 1\n}"},
		{"{\n  \"a\": {}\n}", "a", "{\n}"},
		{`{"\u0061":1}`, "a", `{}`},
	} {
		edit, err := parse(t, c[0]).Remove(c[1])
		if got := apply(t, c[0], edit, err); got != c[2] {
			t.Errorf("%q without %s: %q, want %q", c[0], c[1], got, c[2])
		}
	}
}

func TestAppend(t *testing.T) {
	for text, want := range map[string]string{
		`[]`:                      `["x",{"y":2}]`,
		`[ ]`:                     `["x",{"y":2} ]`,
		`[1]`:                     `[1,"x",{"y":2}]`,
		`[1, 2]`:                  `[1, 2, "x", {"y":2}]`,
		"[\n 1\n]":                "[\n 1,\n \"x\",\n {\n  \"y\":2\n }\n]",
		"[\n\t]":                  "[\n\t  \"x\",\n\t  {\n\t    \"y\":2\n\t  }\n\t]",
		`{"s": "", "a": []}`:      `{"s": "", "a": ["x", {"y": 2}]}`,
		"{\n   \"a\": [\n   ]\n}": "{\n   \"a\": [\n      \"x\",\n      {\n         \"y\": 2\n      }\n   ]\n}",
	} {
		array := parse(t, text)
		if array.Kind() == jsonedit.Object {
			array = array.Get("a")
		}
		edit, err := array.Append(`"x"`, `{ "y" :2}`)
		if got := apply(t, text, edit, err); got != want {
			t.Errorf("Append to %q:\n got %q\nwant %q", text, got, want)
		}
		edit, err = array.Append()
		if got := apply(t, text, edit, err); got != text {
			t.Errorf("nothing appended to %q: %q", text, got)
		}
	}
}

func TestSeveralEdits(t *testing.T) {
	text := `{"process":{"env":["A=1","B=2"]},"mounts":null}`
	root := parse(t, text)
	env := root.Get("process", "env")
	elements := slices.Collect(env.Elements())
	appended, err := env.Append(`"C=4"`)
	if err != nil {
		t.Fatal(err)
	}
	edits := []jsonedit.Edit{root.Get("mounts").Replace(`[{}]`), appended, elements[1].Replace(`"B=3"`)}
	if got, want := apply(t, text, edits, nil), `{"process":{"env":["A=1","B=3","C=4"]},"mounts":[{}]}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if text != `{"process":{"env":["A=1","B=2"]},"mounts":null}` {
		t.Error("the old text changed")
	}
}

func TestEditsRefuse(t *testing.T) {
	text := []byte(`{"a":1,"b":[]}`)
	root := parse(t, string(text))
	a := root.Get("a").Replace("2")
	insert, _ := root.Insert("c", "3")
	for name, c := range map[string]struct {
		err  error
		want error
	}{
		"same node twice":   {second(jsonedit.Apply(text, a, a)), jsonedit.ErrOverlap},
		"same place twice":  {second(jsonedit.Apply(text, insert, insert)), jsonedit.ErrOverlap},
		"inside another":    {second(jsonedit.Apply(text, root.Replace("{}"), a)), jsonedit.ErrOverlap},
		"outside the text":  {second(jsonedit.Apply(text, jsonedit.Edit{Start: 1, End: 99})), jsonedit.ErrOverlap},
		"before the text":   {second(jsonedit.Apply(text, jsonedit.Edit{Start: -1, End: 0})), jsonedit.ErrOverlap},
		"backwards":         {second(jsonedit.Apply(text, jsonedit.Edit{Start: 3, End: 2})), jsonedit.ErrOverlap},
		"name there":        {second(root.Insert("a", "1")), jsonedit.ErrExists},
		"insert into array": {second(root.Get("b").Insert("a", "1")), jsonedit.ErrKind},
		"append to object":  {second(root.Append("1")), jsonedit.ErrKind},
		"append to missing": {second(root.Get("x").Append("1")), jsonedit.ErrKind},
		"remove missing":    {second(root.Remove("x")), jsonedit.ErrMissing},
		"remove from array": {second(root.Get("b").Remove("x")), jsonedit.ErrKind},
	} {
		if !errors.Is(c.err, c.want) {
			t.Errorf("%s: %v, want %v", name, c.err, c.want)
		}
	}
	var syntax *jsonedit.SyntaxError
	for name, err := range map[string]error{
		"inserted value": second(root.Insert("n", "{")), "appended value": second(root.Get("b").Append("1", "]")),
		"replacement": second(jsonedit.Apply(text, root.Get("a").Replace("1,"))),
	} {
		if !errors.As(err, &syntax) {
			t.Errorf("%s that is not JSON: %v", name, err)
		}
	}
	if err := second(root.Get("b").Insert("key", "1")); err.Error() != `cannot insert "key" into an array: the kind of value does not allow this edit` {
		t.Error(err)
	}
}

func second[T any](_ T, err error) error { return err }

// apply makes one edit or several of text.
func apply(t testing.TB, text string, edits any, err error) string {
	t.Helper()
	if err != nil {
		t.Fatalf("edit of %q: %v", text, err)
	}
	list, several := edits.([]jsonedit.Edit)
	if !several {
		list = []jsonedit.Edit{edits.(jsonedit.Edit)}
	}
	out, err := jsonedit.Apply([]byte(text), list...)
	if err != nil {
		t.Fatalf("Apply(%q, %+v): %v", text, edits, err)
	}
	return string(out)
}

// decode is what encoding/json makes of text.
func decode(t testing.TB, text string) any {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatalf("encoding/json refuses %q: %v", text, err)
	}
	return v
}

// walk is what a Node holds, in the same shape.
func walk(n jsonedit.Node) any {
	switch n.Kind() {
	case jsonedit.Object:
		object := map[string]any{}
		for name, value := range n.Members() {
			object[name] = walk(value)
		}
		return object
	case jsonedit.Array:
		array := []any{}
		for element := range n.Elements() {
			array = append(array, walk(element))
		}
		return array
	case jsonedit.String:
		text, _ := n.Text()
		return text
	case jsonedit.Number:
		return json.Number(n.Raw())
	case jsonedit.Bool:
		return string(n.Raw()) == "true"
	}
	return nil
}

func FuzzEdit(f *testing.F) {
	for _, seed := range []string{`{}`, `{"a":1}`, "{\n  \"a\": [1, {\"b\": null}],\n  \"c\": \"\\ud83d\\ude00\"\n}\n", `[[],{},-0.5e+3,"\u0000"]`,
		`{"a":1,"a":2}`, `"\ud800"`, `nul`, "[1,\r\n2]", `{ "x" : [ ] }`} {
		f.Add(seed, "name", `{"k":[1,2]}`)
	}
	f.Add(`{"n\"":1}`, "n\"", `"v"`)
	f.Fuzz(func(t *testing.T, text, name, value string) {
		root, err := jsonedit.Parse([]byte(text))
		if (err == nil) != json.Valid([]byte(text)) && !stricter(err) {
			t.Fatalf("%q: %v, encoding/json says %v", text, err, json.Valid([]byte(text)))
		}
		if err != nil {
			return
		}
		if got, want := walk(root), decode(t, text); !reflect.DeepEqual(got, want) {
			t.Fatalf("%q holds %#v, want %#v", text, got, want)
		}
		if added, err := jsonedit.Parse([]byte(value)); err == nil && utf8.ValidString(name) {
			fuzzInsert(t, text, root, name, value, walk(added))
			fuzzAppend(t, text, root, value, walk(added))
		}
	})
}

// stricter are the reasons for which Parse refuses what encoding/json takes.
func stricter(err error) bool {
	return err != nil && (strings.Contains(err.Error(), "stands twice") || strings.Contains(err.Error(), "UTF-8") ||
		strings.Contains(err.Error(), "nested"))
}

func fuzzInsert(t *testing.T, text string, root jsonedit.Node, name, value string, added any) {
	edit, err := root.Insert(name, value)
	if errors.Is(err, jsonedit.ErrKind) || errors.Is(err, jsonedit.ErrExists) {
		return
	}
	out, err := jsonedit.Apply([]byte(text), edit)
	if stricter(err) {
		return // one level deeper was one too many
	}
	if err != nil {
		t.Fatalf("insert %q into %q: %v", value, text, err)
	}
	want := decode(t, text).(map[string]any)
	want[name] = added
	if got := decode(t, string(out)); !reflect.DeepEqual(got, want) {
		t.Fatalf("%q: %#v, want %#v", out, got, want)
	}
	remove, err := parse(t, string(out)).Remove(name)
	if back := apply(t, string(out), remove, err); back != text {
		t.Fatalf("%q became %q", text, back)
	}
}

func fuzzAppend(t *testing.T, text string, root jsonedit.Node, value string, added any) {
	edit, err := root.Append(value, value)
	if errors.Is(err, jsonedit.ErrKind) {
		return
	}
	out, err := jsonedit.Apply([]byte(text), edit)
	if stricter(err) {
		return
	}
	if err != nil {
		t.Fatalf("append %q to %q: %v", value, text, err)
	}
	want := append(decode(t, text).([]any), added, added)
	if got := decode(t, string(out)); !reflect.DeepEqual(got, want) {
		t.Fatalf("%q: %#v, want %#v", out, got, want)
	}
	if !bytes.HasPrefix(out, []byte(text[:edit.Start])) || !bytes.HasSuffix(out, []byte(text[edit.End:])) {
		t.Fatalf("%q: bytes outside the edit changed in %q", text, out)
	}
}

func FuzzQuote(f *testing.F) {
	f.Add("")
	f.Add("a\"\\\x00\x1f\x7f\n\t\u2028ä😀\xff")
	f.Fuzz(func(t *testing.T, text string) {
		want := strings.ToValidUTF8(text, "\ufffd")
		if !utf8.ValidString(text) { // one U+FFFD for each byte, not for each run
			want = string([]rune(text))
		}
		quoted := jsonedit.Quote(text)
		if got, ok := parse(t, quoted).Text(); !ok || got != want {
			t.Fatalf("%q quoted is %s, read back %q", text, quoted, got)
		}
		if got := decode(t, quoted); got != want {
			t.Fatalf("encoding/json reads %s as %q", quoted, got)
		}
	})
}
