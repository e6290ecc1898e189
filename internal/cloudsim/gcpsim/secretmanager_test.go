package gcpsim_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"hash/crc32"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/internal/cloudsim/gcpsim"
)

const (
	dbSecret = "projects/shop-prod/secrets/db"
	euSecret = "projects/shop-prod/locations/europe-west3/secrets/db"
)

// secretWorld is a world with two versions of a global secret and one of a
// regional one, which the instance may read and look at.
func secretWorld(t *testing.T) (w *world, ask func(path string, header ...string) (int, map[string]any)) {
	t.Helper()
	w = newWorld(t)
	for _, put := range []struct{ name, payload string }{{dbSecret, "one"}, {dbSecret, "two"}, {euSecret, "drei"}} {
		if _, err := w.cloud.PutSecret(put.name, []byte(put.payload)); err != nil {
			t.Fatal(err)
		}
	}
	w.cloud.Grant(hostAccount, "projects/shop-prod", gcpsim.SecretAccessor)
	w.cloud.Grant(hostAccount, dbSecret, gcpsim.SecretViewer)
	url := start(t, gcpsim.NewSecretManager(w.cloud))
	token := w.access(t)
	return w, func(path string, header ...string) (int, map[string]any) {
		t.Helper()
		status, _, text := do(t, "GET", url+"/v1/"+path, "", append([]string{"Authorization", "Bearer " + token}, header...)...)
		var answer map[string]any
		if err := json.Unmarshal([]byte(text), &answer); err != nil {
			t.Fatalf("%s: %s: %v", path, text, err)
		}
		return status, answer
	}
}

func TestSecretManagerAnswers(t *testing.T) {
	w, ask := secretWorld(t)
	if err := w.cloud.SetAlias(dbSecret, "stable", 1); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string][2]string{
		dbSecret + "/versions/1":      {"1", "one"},
		dbSecret + "/versions/latest": {"2", "two"},
		dbSecret + "/versions/stable": {"1", "one"},
		euSecret + "/versions/latest": {"1", "drei"},
	} {
		status, answer := ask(path + ":access")
		name, _ := answer["name"].(string)
		if status != 200 || !strings.HasSuffix(name, "/secrets/db/versions/"+want[0]) || strings.Contains(name, "shop-prod") {
			t.Errorf("%s: %d, %v", path, status, answer)
			continue
		}
		payload := answer["payload"].(map[string]any)
		data, err := base64.StdEncoding.DecodeString(payload["data"].(string))
		sum := crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli))
		if err != nil || string(data) != want[1] || payload["dataCrc32c"] != strconv.FormatUint(uint64(sum), 10) {
			t.Errorf("%s: %v, %v", path, payload, err)
		}
	}
	status, answer := ask(dbSecret + "/versions/latest")
	if name, _ := answer["name"].(string); status != 200 || answer["state"] != "ENABLED" || !strings.HasSuffix(name, "/versions/2") || answer["payload"] != nil {
		t.Errorf("%d, %v", status, answer)
	}
}

func TestSecretManagerRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		arrange func(w *world) error
		path    string
		header  []string
		status  int
		want    string
	}{
		"no such secret":  {nil, "projects/shop-prod/secrets/none/versions/latest:access", nil, 404, "NOT_FOUND"},
		"no such version": {nil, dbSecret + "/versions/3:access", nil, 404, "NOT_FOUND"},
		"no such alias":   {nil, dbSecret + "/versions/stable:access", nil, 404, "NOT_FOUND"},
		"another project": {nil, "projects/other/secrets/db/versions/1:access", nil, 403, "IAM_PERMISSION_DENIED"},
		"a role that was taken": {func(w *world) error {
			w.cloud.Revoke(hostAccount, "projects/shop-prod", gcpsim.SecretAccessor)
			return nil
		}, dbSecret + "/versions/1:access", nil, 403, "secretmanager.versions.access"},
		"looking takes another": {nil, euSecret + "/versions/1", nil, 403, "secretmanager.versions.get"},
		"disabled":              {func(w *world) error { return w.cloud.SetVersionState(dbSecret, 2, gcpsim.Disabled) }, dbSecret + "/versions/latest:access", nil, 400, "is in DISABLED state"},
		"destroyed":             {func(w *world) error { return w.cloud.SetVersionState(dbSecret, 1, gcpsim.Destroyed) }, dbSecret + "/versions/1:access", nil, 400, "FAILED_PRECONDITION"},
		"not enabled":           {func(w *world) error { w.cloud.SetSecretManager("shop-prod", false); return nil }, dbSecret + "/versions/1:access", nil, 403, "SERVICE_DISABLED"},
		"a token that ended":    {func(w *world) error { w.clock.move(time.Hour); return nil }, dbSecret + "/versions/1:access", nil, 401, "UNAUTHENTICATED"},
		"a token that was revoked": {func(w *world) error { w.cloud.RevokeTokens(hostAccount); return nil },
			dbSecret + "/versions/1:access", nil, 401, "UNAUTHENTICATED"},
		"another token": {nil, dbSecret + "/versions/1:access", []string{"Authorization", "Bearer ya29.other"}, 401, "UNAUTHENTICATED"},
	} {
		w, ask := secretWorld(t)
		if c.arrange != nil {
			if err := c.arrange(w); err != nil {
				t.Fatal(err)
			}
		}
		status, answer := ask(c.path, c.header...)
		if text, _ := json.Marshal(answer); status != c.status || !strings.Contains(string(text), c.want) || answer["payload"] != nil {
			t.Errorf("%s: %d, %s", name, status, text)
		}
	}
}

func TestSecretManagerWantsTheScope(t *testing.T) {
	w, ask := secretWorld(t)
	narrow := docker1
	narrow.Scopes = []string{"https://www.googleapis.com/auth/devstorage.read_only"}
	w.server = start(t, w.cloud.AddInstance(narrow))
	status, answer := ask(dbSecret+"/versions/1:access", "Authorization", "Bearer "+w.access(t))
	if text, _ := json.Marshal(answer); status != 403 || !strings.Contains(string(text), "ACCESS_TOKEN_SCOPE_INSUFFICIENT") {
		t.Errorf("%d, %s", status, text)
	}
}

func TestSecretsThatCannotBe(t *testing.T) {
	w, _ := secretWorld(t)
	for _, name := range []string{"db", "projects/p/secrets/a.b", "projects/p/secrets/a/versions/1", "projects/p/secrets/" + strings.Repeat("a", 256)} {
		if _, err := w.cloud.PutSecret(name, nil); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	if _, err := w.cloud.PutSecret(dbSecret, make([]byte, gcpsim.MaxPayload+1)); err == nil {
		t.Error("a large secret is accepted")
	}
	for name, err := range map[string]error{
		"state":   w.cloud.SetVersionState(dbSecret, 3, gcpsim.Disabled),
		"damage":  w.cloud.Damage("projects/p/secrets/none", 1),
		"account": w.cloud.AllowImpersonation(hostAccount, "nobody@shop-prod.iam.gserviceaccount.com"),
	} {
		if !errors.Is(err, gcpsim.ErrNoEntity) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, alias := range []string{"", "latest", "7up"} {
		if err := w.cloud.SetAlias(dbSecret, alias, 1); err == nil {
			t.Errorf("alias %q is accepted", alias)
		}
	}
}
