package spec_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/quaymaster/quaymaster/inject/runtime/spec"
	"github.com/quaymaster/quaymaster/inject/runtime/wire"
)

func TestInherit(t *testing.T) {
	got, err := spec.Inherit([]byte(withHosts("/h")), []wire.Variable{variable("TOKEN", "v"), variable("NEW", "v")})
	want := []spec.Inherited{{Name: "TOKEN", Engine: []string{"TOKEN=placeholder"}}, {Name: "NEW"}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := spec.Inherit([]byte(`{"process":{"env":[1]}}`), nil); !errors.Is(err, spec.ErrShape) {
		t.Errorf("numbers: %v", err)
	}
}

func TestApplyExec(t *testing.T) {
	const config = `{"process":{"env":["PATH=/bin","TOKEN=se\u0063ret","NEW=\"new\"","OTHER=x"]}}`
	inherited := []spec.Inherited{{Name: "TOKEN", Engine: []string{"TOKEN=placeholder"}}, {Name: "NEW"}, {Name: "GONE"}}
	for process, want := range map[string]string{
		`{ "env":["PATH=/bin","TOKEN=placeholder"],"cwd":"\/","x":1.0}`: `{ "env":["PATH=/bin","TOKEN=se\u0063ret","NEW=\"new\""],"cwd":"\/","x":1.0}`,
		`{"env":["TOKEN=own"]}`:                                    `{"env":["TOKEN=own","NEW=\"new\""]}`,
		`{"env":["NEW=","TOKEN=placeholder"]}`:                     `{"env":["NEW=","TOKEN=se\u0063ret"]}`,
		`{"env":["TOKEN=placeholder","TOKEN=own","NEW=1"]}`:        `{"env":["TOKEN=placeholder","TOKEN=own","NEW=1"]}`,
		`{"env":["TOKEN=placeholder","TOKEN=placeholder","NEW="]}`: `{"env":["TOKEN=se\u0063ret","TOKEN=se\u0063ret","NEW="]}`,
		`{}`:           `{"env":["TOKEN=se\u0063ret","NEW=\"new\""]}`,
		`{"env":null}`: `{"env":["TOKEN=se\u0063ret","NEW=\"new\""]}`,
	} {
		if got, err := spec.ApplyExec([]byte(process), []byte(config), inherited); err != nil || string(got) != want {
			t.Errorf("%s:\n got %s, %v\nwant %s", process, got, err, want)
		}
	}
	for process, want := range map[string]string{`{`: "line 1", `[]`: "the whole is an array", `{"env":{}}`: "env is an object", `{"env":[1]}`: "env[] is a number"} {
		if _, err := spec.ApplyExec([]byte(process), []byte(config), inherited); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v, want %q", process, err, want)
		}
	}
	for _, config := range []string{`{`, `{"process":{"env":[1]}}`} {
		if _, err := spec.ApplyExec([]byte(`{}`), []byte(config), inherited); err == nil {
			t.Errorf("the configuration %s was taken", config)
		}
	}
}
