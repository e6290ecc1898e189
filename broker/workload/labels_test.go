package workload_test

import (
	"strings"
	"testing"

	"github.com/quaymaster/quaymaster/broker/workload"
)

func TestParseLabels(t *testing.T) {
	wants, err := workload.ParseLabels(map[string]string{
		"quaymaster.env.DB_PASSWORD":    "vault:kv/shop/db#password",
		"quaymaster.secret.z":           "vault:kv/shop/z",
		"quaymaster.secret.tls.key":     " vault:kv/shop/tls#key@2 ",
		"quaymaster.optional.z":         "true",
		"quaymaster.path":               "/etc/shop/secrets",
		"quaymaster.mode":               "0440",
		"quaymaster.owner":              "70:71",
		"com.docker.compose.project":    "shop",
		"org.example.quaymaster.secret": "not ours",
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, w := range wants.Items {
		line := string(w.Kind) + " " + w.Name + " " + w.Ref.String()
		if w.Optional {
			line += " optional"
		}
		got = append(got, line)
	}
	want := "file tls.key vault:kv/shop/tls#key@2|file z vault:kv/shop/z optional|env DB_PASSWORD vault:kv/shop/db#password"
	if strings.Join(got, "|") != want {
		t.Errorf("got  %s\nwant %s", strings.Join(got, "|"), want)
	}
	if wants.Path != "/etc/shop/secrets" || wants.Mode != 0o440 || *wants.Owner != (workload.User{UID: 70, GID: 71}) {
		t.Errorf("got %s %o %v", wants.Path, wants.Mode, wants.Owner)
	}
}

func TestParseLabelsDefaults(t *testing.T) {
	wants, err := workload.ParseLabels(map[string]string{"quaymaster.secret.a": "vault:kv/a"}, nil)
	if err != nil || wants.Path != "/run/secrets" || wants.Mode != 0o400 || wants.Owner != nil {
		t.Errorf("got %+v, %v", wants, err)
	}
	if workload.Labelled(map[string]string{"a": "b"}) || !workload.Labelled(map[string]string{"quaymaster.path": "/x"}) {
		t.Error("Labelled is wrong")
	}
}

func TestParseLabelsRefuses(t *testing.T) {
	const ref = "vault:kv/a"
	for key, c := range map[string]struct{ value, want string }{
		"quaymaster.secrets.a":                          {ref, "unknown key; the keys are quaymaster.secret.<name>"},
		"quaymaster.secret.":                            {ref, "a name is missing"},
		"quaymaster.secret.a/b":                         {ref, `the name "a/b" contains a slash`},
		"quaymaster.secret...":                          {ref, "may not be a dot or begin with two"},
		"quaymaster.secret...data":                      {ref, "may not be a dot or begin with two"},
		"quaymaster.secret.a\nb":                        {ref, "control character"},
		"quaymaster.secret." + strings.Repeat("x", 256): {ref, "256 bytes long"},
		"quaymaster.secret.a":                           {"kv/a", `ref "kv/a": a ref starts with its provider`},
		"quaymaster.env.1A":                             {ref, "not a name for an environment variable"},
		"quaymaster.env.A=B":                            {ref, "not a name for an environment variable"},
		"quaymaster.env.":                               {ref, "a name is missing"},
		"quaymaster.optional.a":                         {"maybe", "neither true nor false"},
		"quaymaster.optional.ghost":                     {"true", "no file or variable called ghost is asked for"},
		"quaymaster.path":                               {"run/secrets", "not an absolute path"},
		"quaymaster.mode":                               {"0640", "lets somebody write"},
		"quaymaster.owner":                              {"postgres", "not uid or uid:gid"},
	} {
		_, err := workload.ParseLabels(map[string]string{key: c.value}, nil)
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "label "+key) {
			t.Errorf("%s=%s: %v; want %q", key, c.value, err, c.want)
		}
	}
	for _, path := range []string{"/", "/proc/x", "/sys", "/dev/shm", "/a/../b", "/a//b", "/a/"} {
		if _, err := workload.ParseLabels(map[string]string{"quaymaster.path": path}, nil); err == nil {
			t.Errorf("path %s is accepted", path)
		}
	}
	_, err := workload.ParseLabels(map[string]string{"quaymaster.secret.a": "x", "quaymaster.env.B": "y"}, nil)
	if err == nil || strings.Count(err.Error(), "label quaymaster.") != 2 {
		t.Errorf("not every problem is reported: %v", err)
	}
}
