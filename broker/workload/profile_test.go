package workload_test

import (
	"errors"
	"maps"
	"strings"
	"testing"

	"github.com/quaymaster/quaymaster/broker/workload"
)

// profiles are those of a host.
var profiles = workload.Profiles{
	"shop-db": {
		"quaymaster.secret.password": "vault:kv/{{compose.service}}#password", "quaymaster.format.password": "raw",
		"quaymaster.on-rotate": "signal:HUP",
	},
	"broken": {"quaymaster.secret.x": "kv/a", "quaymaster.on-rotate": "reload", "quaymaster.mode": "7"},
}

func TestMerge(t *testing.T) {
	own := map[string]string{
		"com.docker.compose.service": "db", "quaymaster.secret.token": ref, "quaymaster.on-rotate": "restart",
	}
	chosen := maps.Clone(own)
	chosen["quaymaster.profile"] = "shop-db"
	for name, c := range map[string]struct {
		labels  map[string]string
		profile string
		want    map[string]string
	}{
		"none is chosen": {own, "", own},
		"by a label: what is the container's own goes before": {chosen, "", map[string]string{
			"com.docker.compose.service": "db", "quaymaster.profile": "shop-db", "quaymaster.on-rotate": "restart",
			"quaymaster.secret.token": ref, "quaymaster.secret.password": "vault:kv/{{compose.service}}#password", "quaymaster.format.password": "raw",
		}},
		"by the gate: only the profile counts": {chosen, "shop-db", map[string]string{
			"com.docker.compose.service": "db", "quaymaster.on-rotate": "signal:HUP",
			"quaymaster.secret.password": "vault:kv/{{compose.service}}#password", "quaymaster.format.password": "raw",
		}},
		"without any label": {nil, "shop-db", profiles["shop-db"]},
	} {
		before := maps.Clone(c.labels)
		got, err := profiles.Merge(c.labels, c.profile)
		if err != nil || !maps.Equal(got, c.want) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
		if !maps.Equal(before, c.labels) {
			t.Errorf("%s: the container's own labels were changed to %v", name, c.labels)
		}
		if got, err := profiles.Parse(c.labels, c.profile, shop()); err != nil || len(got.Items) == 0 {
			t.Errorf("%s: wants %+v, %v", name, got, err)
		}
	}
}

func TestNoSuchProfile(t *testing.T) {
	for _, c := range []struct {
		there         workload.Profiles
		label, asked  string
		want, wantNot string
	}{
		{profiles, "", "shop", `profile "shop": there is no such profile on this host; there are broken, shop-db, as the host's configuration says under profiles`, "label"},
		{profiles, "shop", "", `label quaymaster.profile: profile "shop": there is no such profile`, "\n"},
		{nil, "shop", "", "none is configured: add it under profiles in the host's configuration", "\n"},
		{profiles, " ", "", `label quaymaster.profile: profile "": there is no such profile`, "\n"},
	} {
		labels := map[string]string{}
		if c.label != "" {
			labels["quaymaster.profile"] = c.label
		}
		_, err := c.there.Parse(labels, c.asked, nil)
		if !errors.Is(err, workload.ErrNoProfile) || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), c.wantNot) {
			t.Errorf("%+v: %v", c, err)
		}
		if _, again := c.there.Merge(labels, c.asked); again == nil || again.Error() != err.Error() {
			t.Errorf("%+v: Merge says %v", c, again)
		}
	}
}

// TestErrorsNameProfileOrLabel: what is wrong is looked for where it was
// written.
func TestErrorsNameProfileOrLabel(t *testing.T) {
	_, err := profiles.Parse(map[string]string{"quaymaster.profile": "broken", "quaymaster.mode": "0644", "quaymaster.format.ghost": "raw"}, "", nil)
	want := `label quaymaster.mode: "0644" lets somebody write: containers see their secrets read-only
profile broken: on_rotate: "reload" is not a strategy; they are none, signal:<SIG> (as in signal:HUP) and restart
profile broken: secrets.x: ref "kv/a": a ref starts with its provider and a colon, as in vault:kv/shop/db#password
label quaymaster.format.ghost: no file or variable called ghost is asked for`
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}

func TestCheckLabels(t *testing.T) {
	if wrong := workload.CheckLabels(profiles["shop-db"]); len(wrong) != 0 {
		t.Errorf("a good profile: %v", wrong)
	}
	wrong := workload.CheckLabels(map[string]string{
		"quaymaster.secret.a": "vault:kv/{{image.label.x}}/{{label.a/b}}", "quaymaster.secret.b": "vault:kv/{{compose.servce}}",
		"quaymaster.secret.c": "vault:kv/{{user}}", "quaymaster.secret.d": "vault:kv/{{label.}}", "quaymaster.refresh.a": "1ms",
	})
	for label, want := range map[string]string{
		"quaymaster.secret.b": `ref "vault:kv/{{compose.servce}}": there is no selector "compose.servce"; the selectors are compose.project, ` +
			`compose.service, image.ref, name, swarm.node, swarm.service, label.<key> and image.label.<key>`,
		"quaymaster.secret.c":  "{{user}} cannot stand in a ref",
		"quaymaster.secret.d":  `there is no selector "label."`,
		"quaymaster.refresh.a": "not a time between 1s and 24h",
	} {
		if err := wrong[label]; err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %q", label, err, want)
		}
	}
	if len(wrong) != 4 {
		t.Errorf("%v", wrong)
	}
}
