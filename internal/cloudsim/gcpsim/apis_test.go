package gcpsim_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/internal/cloudsim/gcpsim"
)

const (
	accountPath  = "/v1/projects/-/serviceAccounts/" + hostAccount
	instancePath = "/compute/v1/projects/shop-prod/zones/europe-west1-b/instances/docker-1"
)

// message is what an error says, after its status was checked.
func message(t *testing.T, answer map[string]any, status int) string {
	t.Helper()
	failure, ok := answer["error"].(map[string]any)
	if !ok || failure["code"] != float64(status) || failure["status"] == "" {
		t.Fatalf("%v", answer)
	}
	return fmt.Sprint(failure["message"], failure["details"])
}

func TestAccessTokens(t *testing.T) {
	w := newWorld(t)
	token := w.access(t)
	narrow := docker1
	narrow.Name, narrow.Scopes = "docker-2", []string{"https://www.googleapis.com/auth/logging.write"}
	other := &world{server: start(t, w.cloud.AddInstance(narrow))}
	for _, path := range []string{accountPath, instancePath} {
		if status, answer := w.api(t, "GET", path, "", token); status != 200 {
			t.Errorf("%s: %d, %v", path, status, answer)
		}
		status, answer := w.api(t, "GET", path, "", other.access(t))
		if said := message(t, answer, status); status != 403 || !strings.Contains(said, "ACCESS_TOKEN_SCOPE_INSUFFICIENT") {
			t.Errorf("%s: %d, %s", path, status, said)
		}
	}
	w.clock.move(time.Hour)
	for _, ended := range []string{token, "", "ya29.nobody"} {
		if status, answer := w.api(t, "GET", accountPath, "", ended); status != 401 {
			t.Errorf("%d, %v", status, answer)
		}
	}
}

func TestServiceAccount(t *testing.T) {
	w := newWorld(t)
	token := w.access(t)
	_, byEmail := w.api(t, "GET", accountPath, "", token)
	if byEmail["email"] != hostAccount || byEmail["projectId"] != "shop-prod" || byEmail["name"] != "projects/shop-prod/serviceAccounts/"+hostAccount {
		t.Errorf("%v", byEmail)
	}
	_, byID := w.api(t, "GET", "/v1/projects/shop-prod/serviceAccounts/"+fmt.Sprint(byEmail["uniqueId"]), "", token)
	if fmt.Sprint(byID) != fmt.Sprint(byEmail) {
		t.Errorf("by ID %v, by email %v", byID, byEmail)
	}
	for _, path := range []string{"/v1/projects/other/serviceAccounts/" + hostAccount, "/v1/projects/-/serviceAccounts/nobody"} {
		if status, answer := w.api(t, "GET", path, "", token); status != 404 {
			t.Errorf("%s: %d, %v", path, status, answer)
		}
	}
	w.cloud.AddServiceAccount("shop-prod", "docker-host")
	if _, again := w.api(t, "GET", accountPath, "", token); again["uniqueId"] == byEmail["uniqueId"] {
		t.Error("a new account has the old ID")
	}
}

// payload is a request to sign claims that end so much later.
func (w *world) payload(t *testing.T, later time.Duration) string {
	t.Helper()
	claims := fmt.Sprintf(`{"sub":%q,"aud":"vault/docker-host","exp":%d}`, hostAccount, w.clock.now().Add(later).Unix())
	text, err := json.Marshal(map[string]string{"payload": claims})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestSignJWT(t *testing.T) {
	w := newWorld(t)
	token, sign := w.access(t), accountPath+":signJwt"
	if status, answer := w.api(t, "POST", sign, w.payload(t, time.Minute), token); status != 403 || !strings.Contains(message(t, answer, 403), "iam.serviceAccounts.signJwt") {
		t.Errorf("without permission: %d, %v", status, answer)
	}
	if err := w.cloud.AllowSigning(hostAccount); err != nil {
		t.Fatal(err)
	}
	_, answer := w.api(t, "POST", sign, w.payload(t, 12*time.Hour), token)
	keys := w.certified(t, "/service_accounts/v1/metadata/x509/"+url.PathEscape(hostAccount))
	claims, err := verified(t, fmt.Sprint(answer["signedJwt"]), keys)
	if err != nil || claims["aud"] != "vault/docker-host" || keys[fmt.Sprint(answer["keyId"])] == nil {
		t.Errorf("%v, %v", claims, err)
	}
	if _, err := verified(t, fmt.Sprint(answer["signedJwt"]), w.certified(t, googleKeys)); err == nil {
		t.Error("an account's signature is Google's")
	}
}

func TestSignJWTRefuses(t *testing.T) {
	w := newWorld(t)
	if err := w.cloud.AllowSigning(hostAccount); err != nil {
		t.Fatal(err)
	}
	if err := w.cloud.AllowSigning(w.cloud.AddServiceAccount("shop-prod", "other")); err != nil {
		t.Fatal(err)
	}
	token, good := w.access(t), w.payload(t, time.Minute)
	for name, c := range map[string]struct {
		path, body, token string
		status            int
	}{
		"another account": {strings.Replace(accountPath, "docker-host", "other", 1) + ":signJwt", good, token, 403},
		"unknown account": {"/v1/projects/-/serviceAccounts/nobody:signJwt", good, token, 403},
		"no token":        {accountPath + ":signJwt", good, "", 401},
		"another method":  {accountPath + ":signBlob", good, token, 404},
		"with a project":  {"/v1/projects/shop-prod/serviceAccounts/" + hostAccount + ":signJwt", good, token, 404},
		"too far":         {accountPath + ":signJwt", w.payload(t, 12*time.Hour+time.Second), token, 400},
		"in the past":     {accountPath + ":signJwt", w.payload(t, -time.Second), token, 400},
		"without an end":  {accountPath + ":signJwt", `{"payload":"{}"}`, token, 400},
		"no claims":       {accountPath + ":signJwt", `{"payload":"hello"}`, token, 400},
		"no JSON":         {accountPath + ":signJwt", `hello`, token, 400},
	} {
		status, answer := w.api(t, "POST", c.path, c.body, c.token)
		if message(t, answer, status); status != c.status {
			t.Errorf("%s: %d, %v", name, status, answer)
		}
	}
	w.cloud.RemoveServiceAccount(hostAccount)
	if status, answer := w.api(t, "GET", "/service_accounts/v1/metadata/x509/"+hostAccount, "", ""); status != 404 {
		t.Errorf("the keys of a deleted account: %d, %v", status, answer)
	}
	if err := w.cloud.AllowSigning(hostAccount); !errors.Is(err, gcpsim.ErrNoEntity) {
		t.Error(err)
	}
}

func TestComputeEngine(t *testing.T) {
	w := newWorld(t)
	token := w.access(t)
	_, found := w.api(t, "GET", instancePath, "", token)
	link := "https://www.googleapis.com/compute/v1/projects/shop-prod/zones/europe-west1-b"
	if found["status"] != "RUNNING" || found["zone"] != link || found["selfLink"] != link+"/instances/docker-1" ||
		found["creationTimestamp"] != "2026-03-01T12:00:00Z" || fmt.Sprint(found["labels"]) != "map[environment:production]" {
		t.Errorf("%v", found)
	}
	w.instance.SetStatus("TERMINATED")
	if _, found := w.api(t, "GET", instancePath, "", token); found["status"] != "TERMINATED" {
		t.Errorf("%v", found)
	}
	if status, _ := w.api(t, "GET", instancePath+"0", "", token); status != 404 {
		t.Errorf("an instance that is not there: %d", status)
	}
}

func TestInstanceGroups(t *testing.T) {
	w := newWorld(t)
	token, second := w.access(t), docker1
	second.Name = "docker-2"
	w.cloud.AddInstance(second)
	_, groups := w.api(t, "GET", "/compute/v1/projects/shop-prod/aggregated/instanceGroups", "", token)
	if got := fmt.Sprint(groups["items"]); got != "map[zones/europe-west1-b:map[instanceGroups:[map[name:docker-hosts]]]]" {
		t.Error(got)
	}
	_, found := w.api(t, "GET", instancePath, "", token)
	for member, want := range map[string]int{fmt.Sprint(found["selfLink"]): 1, fmt.Sprint(found["selfLink"]) + "0": 0} {
		path := "/compute/v1/projects/shop-prod/zones/europe-west1-b/instanceGroups/docker-hosts/listInstances?filter=" + url.QueryEscape("instance eq "+member)
		if _, members := w.api(t, "POST", path, "{}", token); len(members["items"].([]any)) != want {
			t.Errorf("%s: %v", member, members)
		}
	}
	if status, _ := w.api(t, "POST", "/compute/v1/projects/shop-prod/zones/europe-west1-b/instanceGroups/docker-hosts/listInstances", "{}", token); status != 400 {
		t.Errorf("without a filter: %d", status)
	}
}
