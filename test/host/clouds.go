package host

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/quaymaster/quaymaster/internal/cloudsim"
	"github.com/quaymaster/quaymaster/internal/cloudsim/azuresim"
	"github.com/quaymaster/quaymaster/internal/cloudsim/gcpsim"
	"github.com/quaymaster/quaymaster/test/netns"
)

// garbage is an answer that begins as JSON and ends as none.
var garbage = cloudsim.Fault{Status: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}}, Body: `{"value":"`}

// authority makes an authority for a store, and the file of its certificate.
func (h *Host) authority(s *Store, names ...string) (file string, o cloudsim.Options, err error) {
	authority, err := cloudsim.NewAuthority()
	if err != nil {
		return "", cloudsim.Options{}, err
	}
	file = filepath.Join(h.dir, strings.ReplaceAll(strings.ToLower(s.Name), " ", "-")+".pem")
	if err := os.WriteFile(file, authority.PEM(), 0o600); err != nil {
		return "", cloudsim.Options{}, fmt.Errorf("write the authority of %s: %w", s.Name, err)
	}
	return file, cloudsim.Options{Authority: authority, Names: names}, nil
}

// GCPProject is that of SecretManager.
const GCPProject = "shop-prod"

// SecretManager starts GCP's Secret Manager, and the metadata server of an
// instance that may read all of its secrets.
func (h *Host) SecretManager() (*Store, error) {
	cloud := gcpsim.NewCloud(cloudsim.NewEnvironment(nil, nil))
	account := cloud.AddServiceAccount(GCPProject, Role)
	for _, role := range []gcpsim.Role{gcpsim.SecretAccessor, gcpsim.SecretViewer} {
		cloud.Grant(account, "projects/"+GCPProject, role)
	}
	manager := gcpsim.NewSecretManager(cloud)
	s := &Store{
		Name: "GCP Secret Manager", Faults: &manager.Faults, Pattern: "gcp:" + GCPProject + "/outage-*",
		Ref: func(name string) string { return "gcp:" + GCPProject + "/outage-" + name },
		Put: func(_ context.Context, name, value string) error {
			_, err := cloud.PutSecret("projects/"+GCPProject+"/secrets/outage-"+name, []byte(value))
			return err
		},
		Throttled: cloudsim.Fault{Status: http.StatusTooManyRequests, Header: http.Header{"Content-Type": {"application/json"}},
			Body: `{"error":{"code":429,"message":"Quota exceeded","status":"RESOURCE_EXHAUSTED"}}`},
		Garbage:  garbage,
		Settings: "identity: gcp\nproviders: {gcp: {}}\n",
	}
	metadata, err := s.serve(nil, cloud.AddInstance(gcpsim.Instance{Project: GCPProject, Zone: "europe-west1-b", Name: "docker-1", ServiceAccount: account}), cloudsim.Options{})
	if err != nil {
		return s, err
	}
	api, err := s.serve(nil, manager, cloudsim.Options{})
	s.Environment = []string{"GCE_METADATA_HOST=" + strings.TrimPrefix(metadata, "http://"), "CLOUDSDK_API_ENDPOINT_OVERRIDES_SECRETMANAGER=" + api}
	return s, err
}

// KeyVault starts one of Azure's key vaults, in a network in which a machine's
// metadata service has its real address, and every other host is reached by a
// proxy that leads to the stand-in. Nothing else is there: no Vault either.
func (h *Host) KeyVault() (_ *Store, err error) {
	cloud, err := azuresim.NewCloudCalled(azuresim.Public, cloudsim.NewEnvironment(nil, nil))
	if err != nil {
		return nil, err
	}
	tenant := cloud.AddTenant("11111111-2222-3333-4444-555555555555")
	machine := tenant.AddMachine(azuresim.Machine{Subscription: "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee", ResourceGroup: "shop", Name: "web-1",
		Location: "westeurope", SystemAssigned: true})
	vault := tenant.AddVault("shop-kv", "")
	vault.Grant(machine.Identities()[0].PrincipalID)
	s := &Store{
		Name: "Azure Key Vault", Faults: &cloud.Faults, Pattern: "azure:shop-kv/outage-*",
		Ref: func(name string) string { return "azure:shop-kv/outage-" + name },
		Put: func(_ context.Context, name, value string) error {
			vault.Put("outage-"+name, azuresim.VaultSecret{Value: value})
			return nil
		},
		Throttled: cloudsim.Fault{Status: http.StatusTooManyRequests, Header: http.Header{"Content-Type": {"application/json"}, "Retry-After": {"60"}},
			Body: `{"error":{"code":"Throttled","message":"Request was not processed because too many requests were received."}}`},
		Garbage:  garbage,
		Settings: "identity: azure\nproviders: {azure: {}}\n",
	}
	if s.Namespace, err = netns.New(); err != nil {
		return nil, err
	}
	if err := s.Namespace.AddAddress("169.254.169.254/32"); err != nil {
		return s, err
	}
	return s, h.serveAzure(s, cloud, machine)
}

func (h *Host) serveAzure(s *Store, cloud, machine http.Handler) error {
	if _, err := s.serve(s.Namespace, machine, cloudsim.Options{Address: cloudsim.LinkLocal}); err != nil {
		return err
	}
	file, o, err := h.authority(s, azuresim.Hosts...)
	if err != nil {
		return err
	}
	url, err := s.serve(nil, cloud, o)
	if err != nil {
		return err
	}
	// Inside it listens only: what it dials, it dials from outside.
	proxy, err := s.serve(s.Namespace, cloudsim.Proxy{To: strings.TrimPrefix(url, "https://")}, cloudsim.Options{})
	s.Environment = []string{"HTTPS_PROXY=" + proxy, "SSL_CERT_FILE=" + file}
	return err
}
