package spec_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/quaymaster/quaymaster/inject/runtime/spec"
	"github.com/quaymaster/quaymaster/inject/runtime/wire"
)

// hooked is a configuration with a placeholder at each path and a hook for
// each profile.
func hooked(root string, paths, profiles []string) []byte {
	mounts, hooks := []string{`{"destination":"/proc","source":"proc"}`}, []string{`{"path":"/other","args":["other","--profile","x"]}`}
	for _, p := range paths {
		mounts = append(mounts, `{"destination":"`+p+`","type":"bind","source":"`+spec.Placeholder("/run/q")+`"}`)
	}
	for _, p := range profiles {
		hooks = append(hooks, `{"path":"/q","args":["q","--quaymaster-run","/run/q","cdi-hook","--profile","`+p+`"]}`)
	}
	return []byte(`{"root":{"path":"` + root + `"},"process":{"user":{"uid":7}},"mounts":[` + strings.Join(mounts, ",") +
		`],"hooks":{"createRuntime":[` + strings.Join(hooks, ",") + `]}}`)
}

func TestHookFacts(t *testing.T) {
	want := wire.Request{ID: id, UID: 7, Mounts: []string{"/proc"}, Root: "/var/lib/x"}
	got, err := spec.HookFacts(hooked("/var/lib/x", []string{"/a", "/b"}, []string{"one", "two"}), id, "/bundle", spec.Placeholder("/run/q"))
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
	if got, err := spec.HookFacts(hooked("rootfs", []string{"/a"}, []string{"one", "one"}), id, "/bundle", spec.Placeholder("/run/q")); err != nil || got.Root != "/bundle/rootfs" {
		t.Errorf("a relative root, and one device twice: %+v, %v", got, err)
	}
	if _, err := spec.HookFacts(hooked("/r", []string{"/a"}, []string{"one", "two"}), id, "/b", spec.Placeholder("/run/q")); !errors.Is(err, spec.ErrTaken) {
		t.Errorf("two profiles at one path: %v", err)
	}
	for _, text := range []string{`{`, `{}`, `{"root":{"path":1}}`} {
		if _, err := spec.HookFacts([]byte(text), id, "/b", spec.Placeholder("/run/q")); err == nil {
			t.Errorf("%s was taken", text)
		}
	}
}
