package gcpsm_test

import (
	"errors"
	"net/url"
	"strings"
	"testing"

	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/providers"
	"github.com/quaymaster/quaymaster/providers/gcpsm"
)

// Whatever a ref is made of, no other host and no other secret is asked for
// than the one that policy decided on.
func FuzzName(f *testing.F) {
	for _, seed := range []string{"gcp:shop-prod/db@7", "gcp:shop-prod/europe-west3/db", "gcp:example.com:shop/db", "gcp:123/Db_1-x@stable", "gcp:a/b%2F..%2Fc", "gcp:p/evil.com%23/s", "gcp:p/s@1%3Aaccess"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		ref, err := secret.ParseRef(text)
		if err != nil {
			return
		}
		asked, err := gcpsm.URL(ref)
		if err != nil {
			if !errors.Is(err, providers.ErrInvalid) {
				t.Fatalf("%s: %v", text, err)
			}
			return
		}
		u, err := url.Parse(asked)
		if err != nil || u.Scheme != "https" || !strings.HasPrefix(u.Host, "secretmanager.") || !strings.HasSuffix(u.Host, ".googleapis.com") ||
			u.RawQuery != "" || u.Fragment != "" || u.User != nil || u.EscapedPath() != u.Path {
			t.Fatalf("%s: %s, %v", text, asked, err)
		}
		parts, version := strings.Split(ref.Path, "/"), ref.Version
		if version == "" {
			version = "latest"
		}
		want := "/v1/projects/" + parts[0] + "/secrets/" + parts[1] + "/versions/" + version + ":access"
		if len(parts) == 3 {
			want = "/v1/projects/" + parts[0] + "/locations/" + parts[1] + "/secrets/" + parts[2] + "/versions/" + version + ":access"
			if u.Host != "secretmanager."+parts[1]+".rep.googleapis.com" {
				t.Fatalf("%s: %s", text, u.Host)
			}
		}
		if u.Path != want {
			t.Fatalf("%s: %s, want %s", text, u.Path, want)
		}
	})
}
