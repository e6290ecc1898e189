package spec_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/quaymaster/quaymaster/inject/runtime/spec"
	"github.com/quaymaster/quaymaster/inject/runtime/wire"
	"github.com/quaymaster/quaymaster/test/oci"
)

func loadSchema(tb testing.TB) *oci.Schema {
	tb.Helper()
	schema, err := oci.Load()
	if err != nil {
		tb.Fatal(err)
	}
	return schema
}

// generator writes valid configurations: of each field sometimes one, in any
// order, with any spacing and way of writing, and fields that nobody knows.
type generator struct{ *rand.Rand }

// object writes an object of some of the fields; those with a ! are always in it.
func (g generator) object(fields ...string) string {
	var members []string
	for pair := range slices.Chunk(fields, 2) {
		name, always := strings.CutSuffix(pair[0], "!")
		if always || g.IntN(3) > 0 {
			members = append(members, g.space()+g.text(name)+g.space()+":"+g.space()+pair[1]+g.space())
		}
	}
	g.Shuffle(len(members), func(i, j int) { members[i], members[j] = members[j], members[i] })
	return "{" + strings.Join(members, ",") + g.space() + "}"
}

func (g generator) array(item func() string) string {
	items := make([]string, g.IntN(5))
	for i := range items {
		items[i] = g.space() + item() + g.space()
	}
	return "[" + strings.Join(items, ",") + g.space() + "]"
}

func (g generator) space() string {
	return [...]string{"", "", "", " ", "\n  ", "\t", "\r\n"}[g.IntN(7)]
}

// text writes a string, a character of it sometimes as an escape.
func (g generator) text(s string) string {
	quoted, _ := json.Marshal(s) // of a string: never fails
	if i := strings.IndexAny(string(quoted), "aeiou"); i > 0 && g.IntN(4) == 0 && quoted[i-1] != '\\' {
		return string(quoted[:i]) + fmt.Sprintf("\\u%04x", quoted[i]) + string(quoted[i+1:])
	}
	return string(quoted)
}

func (g generator) word() string {
	return g.text([...]string{"", "a", "/run/x", "quaymaster", "ä😀", "a\"b\\c", "\n"}[g.IntN(7)])
}

func (g generator) number() string { return fmt.Sprint(g.Uint32()) }

func (g generator) unknown() string {
	switch g.IntN(4) {
	case 0:
		return g.array(g.word)
	case 1:
		return [...]string{"1.50e+1", "-0", "1E400", "null", "true"}[g.IntN(5)]
	case 2:
		return g.object("x", g.number(), "y", g.word())
	}
	return g.word()
}

func (g generator) env() string {
	return g.array(func() string {
		return g.text([...]string{"PATH=/bin", "TOKEN=placeholder", "TOKEN=", "TOKEN2=x", "Ä=\n=", "NEW=1"}[g.IntN(6)])
	})
}

func (g generator) process() string {
	return g.object("cwd!", g.text("/"), "args", g.array(g.word), "env", g.env(), "terminal", "true", "x-unknown", g.unknown(),
		"user", g.object("uid", g.number(), "gid", g.number(), "additionalGids", g.array(g.number)), "noNewPrivileges", "false",
		"capabilities", g.object("bounding", g.array(g.word), "effective", g.array(g.word)))
}

func (g generator) config() string {
	mapping := func() string {
		return g.object("containerID!", g.number(), "hostID!", g.number(), "size!", g.number())
	}
	mount := func() string {
		return g.object("destination!", g.text("/run/x"), "type", g.word(), "source", g.word(), "options", g.array(g.word), "x-unknown", g.unknown())
	}
	namespace := func() string {
		return g.object("type!", g.text([...]string{"mount", "user", "pid"}[g.IntN(3)]))
	}
	return g.space() + g.object("ociVersion!", g.text("1.2.0"), "process!", g.process(), "root", g.object("path!", g.word(), "readonly", "true"),
		"hostname", g.word(), "mounts", g.array(mount), "annotations", g.object("a", g.word()), "x-unknown", g.unknown(),
		"linux", g.object("uidMappings", g.array(mapping), "gidMappings", g.array(mapping), "namespaces", g.array(namespace))) + g.space()
}

var delivery = wire.Answer{Verdict: wire.Deliver, Source: "/run/q/trees/1", Target: "/run/secrets",
	Variables: []wire.Variable{variable("TOKEN", "a\"b\\c\nä\x01"), variable("NEW", "")}}

// checkConfig holds a configuration, and what becomes of it, to the schema and
// to what is ours to change.
func checkConfig(t *testing.T, schema *oci.Schema, text []byte) {
	t.Helper()
	if err := schema.Config(text); err != nil {
		t.Fatalf("not valid from the beginning: %v\n%s", err, text)
	}
	out, err := spec.Apply(text, delivery)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if err := schema.Config(out); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	before, after := fields(t, text), fields(t, out)
	sameBut(t, before, after, "process", "mounts")
	sameBut(t, fields(t, before.of["process"]), fields(t, after.of["process"]), "env")
	if old, now := elements(t, before.of["mounts"]), elements(t, after.of["mounts"]); len(now) != len(old)+1 || !slices.EqualFunc(old, now[:len(old)], bytes.Equal) {
		t.Errorf("mounts %s became %s", old, now)
	}
	wantEnvironment(t, elements(t, fields(t, before.of["process"]).of["env"]), elements(t, fields(t, after.of["process"]).of["env"]))
	for _, process := range [][]byte{before.of["process"], after.of["process"]} { // of an exec: the same form
		changed, err := spec.ApplyExec(process, out, []spec.Inherited{{Name: "TOKEN", Engine: []string{"TOKEN=placeholder"}}, {Name: "NEW"}})
		if err != nil {
			t.Fatalf("%v\n%s", err, process)
		}
		if err := schema.Process(changed); err != nil {
			t.Errorf("%v\n%s", err, changed)
		}
		sameBut(t, fields(t, process), fields(t, changed), "env")
	}
}

// wantEnvironment: what is not ours stays, at its place.
func wantEnvironment(t *testing.T, before, after [][]byte) {
	t.Helper()
	if len(after) < len(before) {
		t.Fatalf("env %s became %s", before, after)
	}
	for i, raw := range before {
		var entry string
		if err := json.Unmarshal(raw, &entry); err != nil {
			t.Fatal(err)
		}
		name, _, _ := strings.Cut(entry, "=")
		if ours := name == "TOKEN" || name == "NEW"; !ours && !bytes.Equal(raw, after[i]) {
			t.Errorf("env %s became %s", raw, after[i])
		}
	}
}

// object is one JSON object as it is written.
type object struct {
	of    map[string]json.RawMessage
	names []string
}

func fields(t *testing.T, text []byte) object {
	t.Helper()
	o := object{of: map[string]json.RawMessage{}}
	if err := json.Unmarshal(text, &o.of); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.Token() // the bracket
	for decoder.More() {
		name, err := decoder.Token()
		if err != nil {
			t.Fatal(err)
		}
		var value json.RawMessage
		if err := decoder.Decode(&value); err != nil {
			t.Fatal(err)
		}
		o.names = append(o.names, name.(string))
	}
	return o
}

func elements(t *testing.T, text []byte) (all [][]byte) {
	t.Helper()
	if text == nil {
		return nil
	}
	var raw []json.RawMessage
	if err := json.Unmarshal(text, &raw); err != nil {
		t.Fatal(err)
	}
	for _, r := range raw {
		all = append(all, r)
	}
	return all
}

// sameBut holds that all fields but ours are the same, byte for byte and in the
// same order; a field of ours may be new, at the end.
func sameBut(t *testing.T, before, after object, ours ...string) {
	t.Helper()
	for i, name := range after.names {
		switch {
		case i >= len(before.names) && !slices.Contains(ours, name), i < len(before.names) && before.names[i] != name:
			t.Errorf("fields %q became %q", before.names, after.names)
		case !slices.Contains(ours, name) && !bytes.Equal(before.of[name], after.of[name]):
			t.Errorf("%s: %s became %s", name, before.of[name], after.of[name])
		}
	}
	if len(after.names) < len(before.names) {
		t.Errorf("fields %q became %q", before.names, after.names)
	}
}

func TestGeneratedConfigsStayValid(t *testing.T) {
	schema := loadSchema(t)
	for seed := range uint64(500) {
		checkConfig(t, schema, []byte(generator{rand.New(rand.NewPCG(seed, 1))}.config()))
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// TestSpecificationsExamplesStayValid takes those that have a process.
func TestSpecificationsExamplesStayValid(t *testing.T) {
	schema := loadSchema(t)
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/opencontainers/runtime-spec").Output()
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(dir)), "schema/test/config/good/*.json"))
	if err != nil {
		t.Fatal(err)
	}
	checked := 0
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if fields(t, text).of["process"] != nil {
			checkConfig(t, schema, text)
			checked++
		}
	}
	if checked == 0 {
		t.Error("no example was checked")
	}
}

// FuzzValidConfigs makes valid configurations out of what it is given.
func FuzzValidConfigs(f *testing.F) {
	f.Add(uint64(1), uint64(2))
	schema := loadSchema(f)
	f.Fuzz(func(t *testing.T, a, b uint64) {
		checkConfig(t, schema, []byte(generator{rand.New(rand.NewPCG(a, b))}.config()))
	})
}
