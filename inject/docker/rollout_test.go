package docker

import (
	"errors"
	"strings"
	"testing"
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
		version, spec, err := forced([]byte(service(template)))
		if err != nil || version != "18446744073709551615" {
			t.Errorf("%s: version %s, %v", template, version, err)
		}
		if full := `{"Name":"web","Later":{"a": 1.50},"TaskTemplate":{` + want + `}}`; string(spec) != full {
			t.Errorf("got  %s\nwant %s", spec, full)
		}
	}
	for _, broken := range []string{``, `{}`, `{"Version":{"Index":1}}`, `{"Version":{"Index":1},"Spec":{}}`, service(`"ForceUpdate":"x"`)} {
		if _, spec, err := forced([]byte(broken)); err == nil {
			t.Errorf("%q is accepted: %s", broken, spec)
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
