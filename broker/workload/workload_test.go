package workload_test

import (
	"maps"
	"testing"

	"github.com/quaymaster/quaymaster/broker/workload"
)

func TestAttestCountsOnlyTheContainersOwnLabels(t *testing.T) {
	got := workload.Attest(workload.Facts{
		Name: "shop-db-1", Image: "shop/db:3", User: &workload.User{UID: 999},
		ImageLabels: map[string]string{"environment": "production", "team": "a", "com.docker.compose.service": "db"},
		Labels: map[string]string{
			"environment": "production", "team": "b", "com.docker.compose.service": "db",
			"com.docker.compose.project": "shop", "com.docker.swarm.service.name": "s",
		},
	})
	want := workload.Selectors{
		"name": "shop-db-1", "image.ref": "shop/db:3", "user": "999",
		"image.label.environment": "production", "image.label.team": "a", "image.label.com.docker.compose.service": "db",
		"label.team": "b", "compose.project": "shop", "label.com.docker.compose.project": "shop",
		"swarm.service": "s", "label.com.docker.swarm.service.name": "s",
	}
	if !maps.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", map[string]string(got), map[string]string(want))
	}
	if _, known := workload.Attest(workload.Facts{Name: "adopted"})["user"]; known {
		t.Error("a user is attested that nobody knows")
	}
	if text := got.String(); text != "compose.project=shop image.ref=shop/db:3 label.team=b name=shop-db-1 swarm.service=s user=999" {
		t.Errorf("for people: %s", text)
	}
}
