package spec_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/quaymaster/quaymaster/inject/runtime/spec"
	"github.com/quaymaster/quaymaster/inject/runtime/wire"
)

var (
	id      = strings.Repeat("4f1c", 16)
	otherID = strings.Repeat("9a0b", 16)
)

// config is what Docker writes, cut down, with things that must survive.
const config = `{"ociVersion":"1.0.2-dev","process":{"user":{"uid":65532,"gid":1000,"additionalGids":[10]},"args":["/probe"],` +
	`"env":["PATH=/bin","TOKEN=placeholder","TOKEN2=x"],"cwd":"/","oomScoreAdj":1.50e+1},"root":{"path":"/var/lib/x\/y"},` +
	`"mounts":[{"destination":"/proc","type":"proc","source":"proc"},` +
	`{"destination":"/etc/hosts","type":"bind","source":"HOSTS","options":["rbind"]}],` +
	`"linux":{"uidMappings":[{"containerID":0,"hostID":100000,"size":65536}],"gidMappings":[{"containerID":0,"hostID":200000,"size":65536}],` +
	`"namespaces":[{"type":"mount"}USERNS]},"unknown":{"kept":null}}`

func withHosts(source string) string {
	return strings.NewReplacer("HOSTS", source, "USERNS", "").Replace(config)
}

func TestFacts(t *testing.T) {
	got, err := spec.Facts([]byte(withHosts("/var/lib/docker/containers/"+id+"/hosts")), id)
	want := wire.Request{ID: id, UID: 65532, GID: 1000, Mounts: []string{"/proc", "/etc/hosts"},
		EngineDir: "/var/lib/docker/containers/" + id}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
	mapped := strings.Replace(config, "USERNS", `,{"type":"user"}`, 1)
	want.UIDMap, want.GIDMap = []wire.IDMap{{Container: 0, Host: 100000, Size: 65536}}, []wire.IDMap{{Container: 0, Host: 200000, Size: 65536}}
	want.EngineDir = ""
	if got, err := spec.Facts([]byte(mapped), id); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("with a user namespace: %+v, %v", got, err)
	}
	for _, least := range []string{`{}`, `{"process":null,"mounts":null,"linux":null}`, `{"process":{"user":{}},"linux":{"namespaces":[{"type":"user"}]}}`} {
		if got, err := spec.Facts([]byte(least), id); err != nil || !reflect.DeepEqual(got, wire.Request{ID: id}) {
			t.Errorf("%s: %+v, %v", least, got, err)
		}
	}
}

func TestEngineDir(t *testing.T) {
	const root = "/var/lib/docker/containers/"
	for name, c := range map[string]struct {
		mounts map[string]string
		want   string
	}{
		"own hosts":          {map[string]string{"/etc/hosts": root + id + "/hosts"}, root + id},
		"own hostname":       {map[string]string{"/etc/hosts": "/srv/hosts", "/etc/hostname": root + id + "/hostname"}, root + id},
		"own resolv.conf":    {map[string]string{"/etc/resolv.conf": root + id + "/resolv.conf"}, root + id},
		"own shm":            {map[string]string{"/dev/shm": root + id + "/mounts/shm"}, root + id},
		"another's network":  {map[string]string{"/etc/hosts": root + otherID + "/hosts"}, root + id},
		"own before sibling": {map[string]string{"/etc/hosts": root + otherID + "/hosts", "/dev/shm": root + id + "/mounts/shm"}, root + id},
		"only the user's":    {map[string]string{"/etc/hosts": "/srv/hosts", "/etc/hostname": "/x", "/dev/shm": "shm"}, ""},
		"relative":           {map[string]string{"/etc/hosts": id + "/hosts"}, ""},
		"elsewhere":          {map[string]string{"/data": root + id + "/hosts"}, ""},
		"none":               {nil, ""},
	} {
		var mounts []map[string]string
		for destination, source := range c.mounts {
			mounts = append(mounts, map[string]string{"destination": destination, "source": source})
		}
		text, err := json.Marshal(map[string]any{"mounts": mounts})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := spec.Facts(text, id); err != nil || got.EngineDir != c.want {
			t.Errorf("%s: %q, %v; want %q", name, got.EngineDir, err, c.want)
		}
	}
}

func TestFactsRefuse(t *testing.T) {
	for text, want := range map[string]string{
		`{"process":`:                      "line 1, column 12",
		`[]`:                               "the whole is an array and should be an object",
		`{"process":{"user":{"uid":-1}}}`:  "process.user.uid: not a whole number",
		`{"process":{"user":{"gid":"0"}}}`: "process.user.gid: not a whole number",
		`{"mounts":[{}]}`:                  "mounts[].destination is nothing and should be a string",
		`{"mounts":[{"destination":1}]}`:   "mounts[].destination is a number",
		withUserNamespace(`"uidMappings":[{"containerID":0.5}]`): "linux.uidMappings[].containerID",
		withUserNamespace(`"gidMappings":[{"size":true}]`):       "linux.gidMappings[].size",
	} {
		if _, err := spec.Facts([]byte(text), id); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

func withUserNamespace(mappings string) string {
	return `{"linux":{"namespaces":[{"type":"user"}],` + mappings + `}}`
}

func variable(name, value string) wire.Variable {
	return wire.Variable{Name: name, Value: func() []byte { return []byte(value) }}
}

func TestApply(t *testing.T) {
	const mount = `{"destination":"/run/secrets","type":"bind","source":"/run/q/trees/1","options":["bind","ro","nosuid","nodev","noexec","rprivate"]}`
	answer := wire.Answer{Verdict: wire.Deliver, Source: "/run/q/trees/1", Target: "/run/secrets",
		Variables: []wire.Variable{variable("TOKEN", "a\"b\\c\nä"), variable("NEW", "")}}
	full := withHosts("/h")
	for text, want := range map[string]string{
		full: strings.NewReplacer(`"TOKEN=placeholder"`, `"TOKEN=a\"b\\c\nä"`, `"TOKEN2=x"]`, `"TOKEN2=x","NEW="]`,
			`"options":["rbind"]}]`, `"options":["rbind"]},`+mount+`]`).Replace(full),
		`{"process":{}}`:                         `{"process":{"env":["TOKEN=a\"b\\c\nä","NEW="]},"mounts":[` + mount + `]}`,
		`{"process":{"env":null},"mounts":null}`: `{"process":{"env":["TOKEN=a\"b\\c\nä","NEW="]},"mounts":[` + mount + `]}`,
		`{"mounts":[],"process":{"env":[]}}`:     `{"mounts":[` + mount + `],"process":{"env":["TOKEN=a\"b\\c\nä","NEW="]}}`,
		`{"mounts":[],"process":{"env":["TOKEN","NEW=1","TOKEN=2"]}}`: `{"mounts":[` + mount +
			`],"process":{"env":["TOKEN=a\"b\\c\nä","NEW=","TOKEN=a\"b\\c\nä"]}}`,
	} {
		got, err := spec.Apply([]byte(text), answer)
		if err != nil || string(got) != want {
			t.Errorf("%s:\n got %s, %v\nwant %s", text, got, err, want)
		}
	}
	for name, nothing := range map[string]wire.Answer{"pass": {Verdict: wire.Pass}, "empty delivery": {Verdict: wire.Deliver}} {
		if got, err := spec.Apply([]byte(full), nothing); err != nil || string(got) != full {
			t.Errorf("%s changed the text: %s, %v", name, got, err)
		}
	}
}

func TestApplyRefuses(t *testing.T) {
	const value = "hunter2"
	env := func(name, value string) wire.Answer {
		return wire.Answer{Variables: []wire.Variable{variable(name, value)}}
	}
	for name, c := range map[string]struct {
		config string
		answer wire.Answer
		want   string
		is     error
	}{
		"zero byte":        {`{"process":{}}`, env("T", value+"\x00"), `variable "T": its value has a zero byte`, spec.ErrVariable},
		"invalid UTF-8":    {`{"process":{}}`, env("T", value+"\xff"), `variable "T": its value is not valid UTF-8`, spec.ErrVariable},
		"too long":         {`{"process":{}}`, env("T", strings.Repeat(value, 1<<19)), "longer than the", spec.ErrVariable},
		"equals in name":   {`{"process":{}}`, env("T=1", value), `variable "T=1": its name`, spec.ErrVariable},
		"no name":          {`{"process":{}}`, env("", value), `variable "": its name`, spec.ErrVariable},
		"twice":            {`{"process":{}}`, wire.Answer{Variables: []wire.Variable{variable("T", value), variable("T", value)}}, "delivered twice", spec.ErrVariable},
		"no process":       {`{}`, env("T", value), "process is nothing and should be an object", spec.ErrShape},
		"env of an object": {`{"process":{"env":{}}}`, env("T", value), "process.env is an object and should be an array", spec.ErrShape},
		"env of numbers":   {`{"process":{"env":[1]}}`, env("T", value), "process.env[] is a number and should be a string", spec.ErrShape},
		"mounts of text":   {`{"mounts":"x"}`, wire.Answer{Source: "/a", Target: "/b"}, "mounts is a string and should be an array", spec.ErrShape},
		"relative source":  {`{}`, wire.Answer{Source: "a", Target: "/b"}, "clean absolute paths", nil},
		"target with ..":   {`{}`, wire.Answer{Source: "/a", Target: "/b/../c"}, "clean absolute paths", nil},
		"not JSON":         {`{`, wire.Answer{}, "line 1, column 2", nil},
		"not an object":    {`1`, wire.Answer{}, "the whole is a number", spec.ErrShape},
	} {
		_, err := spec.Apply([]byte(c.config), c.answer)
		if err == nil || !strings.Contains(err.Error(), c.want) || c.is != nil && !errors.Is(err, c.is) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		} else if strings.Contains(err.Error(), value) {
			t.Errorf("%s shows the value: %v", name, err)
		}
	}
}

// FuzzApply: whatever the configuration is, a delivery changes mounts and
// process.env as encoding/json sees them, and nothing else.
func FuzzApply(f *testing.F) {
	f.Add([]byte(withHosts("/h")), "TOKEN", "value")
	f.Add([]byte("{\n  \"process\": {\n    \"env\": [\n      \"A=1\"\n    ]\n  }\n}"), "A", "\"\\\n")
	f.Add([]byte(`{"process":{"env":null},"mounts":[]}`), "", "")
	f.Fuzz(func(t *testing.T, text []byte, name, value string) {
		if _, err := spec.Facts(text, id); err != nil {
			return
		}
		answer := wire.Answer{Verdict: wire.Deliver, Source: "/s", Target: "/t", Variables: []wire.Variable{variable(name, value)}}
		out, err := spec.Apply(text, answer)
		if err != nil {
			return
		}
		if !utf8.ValidString(value) || strings.Contains(value, "\x00") {
			t.Fatalf("a variable that cannot be expressed was accepted: %q", value)
		}
		before, after := decode(t, text), decode(t, out)
		mounts, _ := after["mounts"].([]any)
		if last := mounts[len(mounts)-1].(map[string]any); last["destination"] != "/t" || last["source"] != "/s" {
			t.Fatalf("last mount %v", last)
		}
		env := after["process"].(map[string]any)["env"].([]any)
		if !slices.Contains(env, any(name+"="+value)) {
			t.Fatalf("%q is not in %q", name+"="+value, env)
		}
		for _, m := range []map[string]any{before, after} {
			delete(m, "mounts")
			delete(m["process"].(map[string]any), "env")
		}
		if !reflect.DeepEqual(before, after) {
			t.Fatalf("something else changed: %s became %s", text, out)
		}
	})
}

func decode(t *testing.T, text []byte) map[string]any {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var v map[string]any
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return v
}
