package detect

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"github.com/quaymaster/quaymaster/auth/internal/imds"
)

// linkLocal is where all three clouds have their metadata service.
const linkLocal = "http://169.254.169.254"

// probes ask one cloud's metadata service something that only it answers
// rightly.
var probes = map[Cloud]func(ctx context.Context, client *http.Client, base string) error{
	AWS: probeAWS, Azure: probeAzure, GCP: probeGCP,
}

// probeAll asks all services at once.
func probeAll(ctx context.Context, endpoints map[Cloud]string) []finding {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	client := imds.NewClient()
	clouds := []Cloud{AWS, Azure, GCP}
	findings := make([]finding, len(clouds))
	var asking sync.WaitGroup
	for i, cloud := range clouds {
		asking.Go(func() {
			base := endpoints[cloud]
			if base == "" {
				base = linkLocal
			}
			findings[i] = finding{place: string(cloud) + " metadata service at " + base, cloud: cloud, why: "answered as it should"}
			if err := probes[cloud](ctx, client, base); err != nil {
				findings[i].cloud, findings[i].why = "", reason(err)
			}
		})
	}
	asking.Wait()
	return findings
}

// reason leaves out what the place says already.
func reason(err error) string {
	if request, ok := err.(*url.Error); ok { // as http.Client returns it
		return request.Err.Error()
	}
	return err.Error()
}

// probeAWS asks for a session token, which no other service hands out, and
// with it for the instance's identity ("Use IMDSv2" in the EC2 User Guide).
func probeAWS(ctx context.Context, client *http.Client, base string) error {
	token, _, err := ask(ctx, client, http.MethodPut, base+"/latest/api/token", "X-aws-ec2-metadata-token-ttl-seconds", "60")
	if err != nil {
		return err
	}
	document, _, err := ask(ctx, client, http.MethodGet, base+"/latest/dynamic/instance-identity/document",
		"X-aws-ec2-metadata-token", strings.TrimSpace(string(token)))
	if err != nil {
		return err
	}
	var instance struct{ AccountID, InstanceID string }
	if err := json.Unmarshal(document, &instance); err != nil || instance.AccountID == "" || instance.InstanceID == "" {
		return fmt.Errorf("%w: no instance identity document", errNotIt)
	}
	return nil
}

// probeAzure asks for the instance ("Azure Instance Metadata Service").
func probeAzure(ctx context.Context, client *http.Client, base string) error {
	document, _, err := ask(ctx, client, http.MethodGet, base+"/metadata/instance?api-version=2021-02-01", "Metadata", "true")
	if err != nil {
		return err
	}
	var instance struct {
		Compute struct{ SubscriptionID, VMID string }
	}
	if err := json.Unmarshal(document, &instance); err != nil || instance.Compute.SubscriptionID == "" || instance.Compute.VMID == "" {
		return fmt.Errorf("%w: no compute metadata", errNotIt)
	}
	return nil
}

// probeGCP looks for the header by which Google's clients, too, tell the
// service from a proxy ("VM metadata" in Compute Engine's documentation).
func probeGCP(ctx context.Context, client *http.Client, base string) error {
	project, header, err := ask(ctx, client, http.MethodGet, base+"/computeMetadata/v1/project/project-id", "Metadata-Flavor", "Google")
	if err != nil {
		return err
	}
	if header.Get("Metadata-Flavor") != "Google" || len(project) == 0 {
		return fmt.Errorf("%w: no Metadata-Flavor: Google", errNotIt)
	}
	return nil
}

func ask(ctx context.Context, client *http.Client, method, address, name, value string) ([]byte, http.Header, error) {
	request, err := http.NewRequestWithContext(ctx, method, address, nil)
	if err != nil {
		return nil, nil, err
	}
	request.Header.Set(name, value)
	answer, err := client.Do(request)
	if err != nil {
		return nil, nil, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, nil, &statusError{answer.StatusCode}
	}
	body, err := io.ReadAll(answer.Body)
	return body, answer.Header, err
}
