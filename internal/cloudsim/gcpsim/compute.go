package gcpsim

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// zoneLink and selfLink name resources as Compute Engine does in its answers.
func (i *instance) zoneLink() string {
	return fmt.Sprintf("https://www.googleapis.com/compute/v1/projects/%s/zones/%s", i.Project, i.Zone)
}

func (i *instance) selfLink() string { return i.zoneLink() + "/instances/" + i.Name }

// getInstance is compute.instances.get.
func (a *APIs) getInstance(r *http.Request) (any, error) {
	found, exists := a.cloud.instances[place{r.PathValue("project"), r.PathValue("zone"), r.PathValue("name")}]
	if !exists {
		return nil, notFound("The resource '" + strings.TrimPrefix(r.URL.Path, ComputePath) + "' was not found")
	}
	return map[string]any{
		"kind": "compute#instance", "id": found.id, "name": found.Name, "status": found.status,
		"creationTimestamp": found.Created.Format(time.RFC3339Nano), "labels": found.Labels,
		"zone": found.zoneLink(), "selfLink": found.selfLink(),
	}, nil
}

type group struct {
	Name string `json:"name"`
}

type zoneGroups struct {
	Groups []group `json:"instanceGroups"`
}

// instanceGroups is compute.instanceGroups.aggregatedList.
func (a *APIs) instanceGroups(r *http.Request) (any, error) {
	byZone := map[string]zoneGroups{}
	for at, i := range a.cloud.instances {
		if at.project == r.PathValue("project") && i.Group != "" {
			zone := "zones/" + at.zone
			if known := byZone[zone].Groups; !slices.Contains(known, group{i.Group}) {
				byZone[zone] = zoneGroups{append(known, group{i.Group})}
			}
		}
	}
	return map[string]any{"items": byZone}, nil
}

// groupMembers is compute.instanceGroups.listInstances, with the one filter
// that Vault writes.
func (a *APIs) groupMembers(r *http.Request) (any, error) {
	wanted, filtered := strings.CutPrefix(r.URL.Query().Get("filter"), "instance eq ")
	if !filtered {
		return nil, invalid("This stand-in takes the filter 'instance eq …' only.")
	}
	members := []map[string]string{}
	for at, i := range a.cloud.instances {
		if at.project == r.PathValue("project") && at.zone == r.PathValue("zone") && i.Group == r.PathValue("group") && i.selfLink() == wanted {
			members = append(members, map[string]string{"instance": i.selfLink(), "status": i.status})
		}
	}
	return map[string]any{"items": members}, nil
}
