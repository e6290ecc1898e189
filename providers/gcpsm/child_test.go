package gcpsm_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/quaymaster/quaymaster/auth/gcp"
	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/internal/cloudsim"
	"github.com/quaymaster/quaymaster/internal/cloudsim/gcpsim"
	"github.com/quaymaster/quaymaster/providers/gcpsm"
)

// refVariable makes this program read one secret and print it.
const refVariable = "GCPSM_TEST_REF"

func inChild() bool {
	text, is := os.LookupEnv(refVariable)
	if is {
		if err := printSecret(text); err != nil {
			fmt.Println("failed:", err)
		}
	}
	return is
}

func printSecret(text string) error {
	ref, err := secret.ParseRef(text)
	if err != nil {
		return err
	}
	tokens, err := gcp.NewAccessTokens(gcp.AccessOptions{})
	if err != nil {
		return err
	}
	p, err := gcpsm.New(gcpsm.Options{Tokens: tokens})
	if err != nil {
		return err
	}
	found, err := p.Fetch(context.Background(), ref)
	if err != nil {
		return err
	}
	fmt.Printf("%s@%s: %s\n", found.Ref, found.Version, found.Fields["value"].Reveal()) // a stand-in's, for the parent to compare
	return nil
}

// Without any override, the API's own names are asked: a process whose proxy
// leads them to a stand-in, and which trusts the stand-in's authority, reads a
// secret from where it is kept.
func TestGooglesOwnNames(t *testing.T) {
	w := newCloud()
	for _, resource := range []string{project + "/secrets/db", project + "/locations/europe-west3/secrets/db"} {
		w.put(t, resource, "kept in "+resource)
		w.cloud.Grant(w.account, resource, gcpsim.SecretAccessor)
	}
	authority, err := cloudsim.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	trusted := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(trusted, authority.PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	api, err := cloudsim.Start(w.api, cloudsim.Options{Authority: authority, Names: []string{"secretmanager.googleapis.com", "secretmanager.europe-west3.rep.googleapis.com"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { api.Close() })
	proxy := serve(t, cloudsim.Proxy{To: strings.TrimPrefix(api.URL(), "https://")})
	metadata := serve(t, w.cloud.AddInstance(docker1))
	for ref, want := range map[string]string{
		"gcp:shop-prod/db":              "gcp:shop-prod/db@1: kept in projects/shop-prod/secrets/db\n",
		"gcp:shop-prod/europe-west3/db": "gcp:shop-prod/europe-west3/db@1: kept in projects/shop-prod/locations/europe-west3/secrets/db\n",
		"gcp:shop-prod/us-east1/db":     "failed: GCP Secret Manager at https://secretmanager.us-east1.rep.googleapis.com: secret store unavailable: gcp:shop-prod/us-east1/db: it cannot be reached (tls: failed to verify",
	} {
		child := exec.CommandContext(t.Context(), os.Args[0])
		child.Env = []string{refVariable + "=" + ref, "HTTPS_PROXY=" + proxy.URL(), "SSL_CERT_FILE=" + trusted,
			"GCE_METADATA_HOST=" + strings.TrimPrefix(metadata.URL(), "http://")}
		printed, err := child.Output()
		if err != nil || !strings.HasPrefix(string(printed), want) {
			t.Errorf("%s: %q, %v", ref, printed, err)
		}
	}
}
