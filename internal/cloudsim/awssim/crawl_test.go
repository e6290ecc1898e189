package awssim_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/quaymaster/quaymaster/internal/cloudsim"
	"github.com/quaymaster/quaymaster/internal/cloudsim/awssim"
)

// TestCrawl reads everything as cloud-init's data source does (sources/helpers/ec2.py):
// what a listing shows must be there to be read, or it asks for minutes.
func TestCrawl(t *testing.T) {
	account := newAccount(newClock())
	account.AddRole("/", "docker-host")
	service := awssim.NewIMDS(account, awssim.Instance{ID: instanceID, Region: "eu-west-1", AvailabilityZone: "eu-west-1a", Role: "docker-host",
		MAC: "52:54:00:12:34:56", Tags: map[string]string{"Name": "docker 1", "quaymaster-vault-role": "docker-host"}, UserData: "#cloud-config\n{}\n"})
	url := start(t, service, cloudsim.Options{})
	_, _, token := raw(t, "PUT", url+"/latest/api/token", ttlHeader, "60")
	get := func(path string) string {
		t.Helper()
		status, _, content := raw(t, "GET", url+path, tokenHeader, token)
		if status != 200 {
			t.Errorf("%s: %d", path, status)
		}
		return content
	}
	found := map[string]string{}
	var crawl func(directory string)
	crawl = func(directory string) {
		for name := range strings.SplitSeq(get(directory), "\n") {
			if name == "security-credentials/" {
				continue
			}
			if strings.HasSuffix(name, "/") {
				crawl(directory + name)
				continue
			}
			found[directory+name] = get(directory + name)
		}
	}
	crawl("/2021-03-23/meta-data/")
	for path, want := range map[string]string{
		"instance-id": instanceID, "local-hostname": "ip-10-0-0-10.eu-west-1.compute.internal", "placement/region": "eu-west-1",
		"network/interfaces/macs/52:54:00:12:34:56/device-number": "0", "tags/instance/Name": "docker 1", "tags/instance/quaymaster-vault-role": "docker-host",
	} {
		if got := found["/2021-03-23/meta-data/"+path]; got != want {
			t.Errorf("%s is %q, want %q", path, got, want)
		}
	}
	if keys := slices.Collect(maps.Keys(found)); slices.ContainsFunc(keys, func(k string) bool { return strings.Contains(k, "public-keys") }) {
		t.Errorf("there is no key pair: %q", keys)
	}
	for path, want := range map[string]string{
		"/latest/": "dynamic\nmeta-data\nuser-data", "/latest/dynamic/": "instance-identity/", "/2009-04-04/meta-data/instance-id": instanceID,
		"/2021-03-23/dynamic/instance-identity": "document", "/latest/user-data": "#cloud-config\n{}\n",
	} {
		if got := get(path); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
	if listed := strings.Split(get("/"), "\n"); listed[0] != "1.0" || listed[len(listed)-1] != "latest" {
		t.Errorf("versions: %q", listed)
	}
}

func TestWhatAnInstanceHasNot(t *testing.T) {
	service, _, url := metadata(t, newClock())
	_, _, token := raw(t, "PUT", url+"/latest/api/token", ttlHeader, "60")
	get := func(path string) int {
		status, _, _ := raw(t, "GET", url+path, tokenHeader, token)
		return status
	}
	for _, path := range []string{"/latest/user-data", "/latest/meta-data/tags/instance/", "/latest/meta-data/public-keys/", "/2030-01-01/meta-data/instance-id"} {
		if got := get(path); got != 404 {
			t.Errorf("%s: %d", path, got)
		}
	}
	service.SetUserData("x")
	service.SetTags(map[string]string{"a": "b"})
	for _, path := range []string{"/latest/user-data", "/latest/meta-data/tags/instance/", "/latest/meta-data/tags/instance/a"} {
		if got := get(path); got != 200 {
			t.Errorf("%s: %d", path, got)
		}
	}
}
