package workload_test

import (
	"strings"
	"testing"

	"github.com/quaymaster/quaymaster/broker/workload"
)

func TestSecretLabels(t *testing.T) {
	selectors := workload.Attest(workload.Facts{Labels: map[string]string{"com.docker.swarm.service.name": "shop_db"}, Node: "node-2"})
	got, err := workload.ParseSecretLabels("db_store", map[string]string{
		"quaymaster.ref": "vault:kv/{{swarm.service}}/{{swarm.node}}#p", "quaymaster.format": "jks", "quaymaster.password": "vault:kv/k#w",
		"com.example": "kept out",
	}, selectors)
	if err != nil || got.Name != "db_store" || got.Kind != workload.File || got.Ref.String() != "vault:kv/shop_db/node-2#p" ||
		got.Format.Kind != workload.FormatJKS || got.Password.String() != "vault:kv/k#w" {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestSecretLabelsRefuse(t *testing.T) {
	for _, c := range []struct{ key, value, want string }{
		{"format", "yaml", `label quaymaster.format: "yaml" is not a format`},
		{"format", "pem", "label quaymaster.format: pem makes several files, and a swarm's secret is one"},
		{"password", ref, "label quaymaster.password: only a keystore has a password"},
		{"ref", "kv/a", `label quaymaster.ref: ref "kv/a": a ref starts with its provider`},
		{"ref", "vault:{{name}}", `label quaymaster.ref: ref "vault:{{name}}": this container has no selector "name"`},
		{"secret.x", ref, "label quaymaster.secret.x: unknown key; the keys on a swarm's secret are quaymaster.ref, quaymaster.format and quaymaster.password"},
		{"on-rotate", "update", "label quaymaster.on-rotate: unknown key"},
	} {
		labels := map[string]string{"quaymaster.ref": ref}
		labels["quaymaster."+c.key] = c.value
		if got, err := workload.ParseSecretLabels("x", labels, nil); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s=%s: %+v, %v; want %q", c.key, c.value, got, err, c.want)
		}
	}
	_, err := workload.ParseSecretLabels("x", map[string]string{"quaymaster.formt": "raw"}, nil)
	if err == nil || !strings.Contains(err.Error(), "quaymaster.ref is missing") || !strings.Contains(err.Error(), "quaymaster.formt: unknown key") {
		t.Errorf("not every problem is reported: %v", err)
	}
	if _, err := workload.ParseSecretLabels("../x", map[string]string{"quaymaster.ref": ref}, nil); err == nil {
		t.Error("a secret whose name is a path is accepted")
	}
}

func TestServiceStrategy(t *testing.T) {
	for text, want := range map[string]bool{"update": true, "none": false} {
		if got, err := workload.ServiceStrategy(map[string]string{"quaymaster.on-rotate": text}); err != nil || got != want {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	if got, err := workload.ServiceStrategy(map[string]string{"quaymaster.status": "of somebody else"}); err != nil || got {
		t.Errorf("by default: %v, %v", got, err)
	}
	for _, text := range []string{"", "signal:HUP", "restart"} {
		_, err := workload.ServiceStrategy(map[string]string{"quaymaster.on-rotate": text})
		if err == nil || !strings.Contains(err.Error(), "label quaymaster.on-rotate of the service") {
			t.Errorf("%s: %v", text, err)
		}
	}
}
