package docker

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/quaymaster/quaymaster/inject/jsonedit"
)

// TestForcedKeepsEveryByte: nothing but the counter changes, whatever else a
// later engine has in a service.
func TestForcedKeepsEveryByte(t *testing.T) {
	service := func(template string) string {
		return `{"ID":"x","Version":{"Index":18446744073709551615},"Spec":{"Name":"web","Later":{"a": 1.50},"TaskTemplate":{` + template + `}}}`
	}
	for template, want := range map[string]string{
		`"ForceUpdate":7,"New":[1e3]`: `"ForceUpdate":8,"New":[1e3]`,
		`"Runtime":"container"`:       `"Runtime":"container","ForceUpdate":1`,
		``:                            `"ForceUpdate":1`,
	} {
		spec, err := forced(parse(t, service(template)))
		if err != nil {
			t.Errorf("%s: %v", template, err)
		}
		if full := `{"Name":"web","Later":{"a": 1.50},"TaskTemplate":{` + want + `}}`; string(spec) != full {
			t.Errorf("got  %s\nwant %s", spec, full)
		}
	}
	for _, broken := range []string{`{}`, `{"Spec":{}}`, service(`"ForceUpdate":"x"`)} {
		if spec, err := forced(parse(t, broken)); err == nil {
			t.Errorf("%q is accepted: %s", broken, spec)
		}
	}
}

func parse(t *testing.T, text string) jsonedit.Node {
	t.Helper()
	root, err := jsonedit.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// TestOthersUpdatesGoFirst: what is under way is not disturbed, unless it is
// nothing but the same again.
func TestOthersUpdatesGoFirst(t *testing.T) {
	for _, test := range []struct {
		state, before      string
		mayUpdate, mayTell bool
	}{
		{"", `{}`, true, true},
		{"completed", `{}`, true, true},
		{"rollback_completed", `{}`, true, true},
		{"rollback_paused", `{}`, true, false},
		{"rollback_started", `{}`, false, false},
		{"updating", `{"Name":"old","TaskTemplate":{"ForceUpdate":1}}`, false, false},
		{"paused", `{"Name":"old","TaskTemplate":{"ForceUpdate":1}}`, false, false},
		{"updating", `{"Name":"web","TaskTemplate":{"ForceUpdate":1}}`, true, false},
		{"paused", `{"Name":"web","TaskTemplate":{"ForceUpdate":1}}`, true, false},
	} {
		service := parse(t, fmt.Sprintf(`{"Spec":{"Name":"web","TaskTemplate":{"ForceUpdate":2}},"PreviousSpec":%s,"UpdateStatus":{"State":%q}}`, test.before, test.state))
		if _, err := forced(service); (err == nil) != test.mayUpdate || err != nil && !errors.Is(err, ErrUnderWay) {
			t.Errorf("%+v: update: %v", test, err)
		}
		if _, err := told(service, "x"); (err == nil) != test.mayTell || err != nil && !errors.Is(err, ErrUnderWay) {
			t.Errorf("%+v: tell: %v", test, err)
		}
	}
}

// TestToldKeepsEveryByte: nothing but the one label changes.
func TestToldKeepsEveryByte(t *testing.T) {
	const rest = `,"Later":{"a": 1.50},"TaskTemplate":{"ForceUpdate":7}}`
	for _, test := range []struct{ before, text, after string }{
		{`{"Name":"web"`, "no\n\"grant\"", `{"Name":"web"`},
		{`{"Name":"web","Labels":{}`, "x", `{"Name":"web","Labels":{"quaymaster.error":"x"}`},
		{`{"Name":"web","Labels":null`, "x", `{"Name":"web","Labels":{"quaymaster.error":"x"}`},
		{`{"Name":"web","Labels":{"a":"b","quaymaster.error":"old"}`, "x", `{"Name":"web","Labels":{"a":"b","quaymaster.error":"x"}`},
		{`{"Name":"web","Labels":{"a":"b","quaymaster.error":"old"}`, "", `{"Name":"web","Labels":{"a":"b"}`},
	} {
		spec, err := told(parse(t, `{"Spec":`+test.before+rest+`}`), test.text)
		want := test.after + rest
		if test.after == test.before {
			want = strings.TrimSuffix(test.before+rest, "}") + `,"Labels":{"quaymaster.error":"no\n\"grant\""}}`
		}
		if err != nil || string(spec) != want {
			t.Errorf("got  %s, %v\nwant %s", spec, err, want)
		}
	}
	for labels, text := range map[string]string{`{"quaymaster.error":"x"}`: "x", `{"a":"b"}`: "", `null`: ""} {
		if spec, err := told(parse(t, `{"Spec":{"Labels":`+labels+`}}`), text); err != nil || spec != nil {
			t.Errorf("%s says so already, and becomes %s, %v", labels, spec, err)
		}
	}
}

func TestRefusal(t *testing.T) {
	for body, want := range map[string]error{
		`{"message":"rpc error: code = Unknown desc = update out of sequence"}`:                          errOutOfSequence,
		`{"message":"This node is not a swarm manager. Use \"docker swarm init\" to connect this node"}`: ErrNotManager,
	} {
		if err := refusal(500, []byte(body)); !errors.Is(err, want) {
			t.Errorf("%s: %v", body, err)
		}
	}
	if err := refusal(502, []byte("<html>")); !strings.Contains(err.Error(), "502") {
		t.Errorf("got %v", err)
	}
}
