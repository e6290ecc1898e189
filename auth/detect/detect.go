// Package detect finds out which cloud a machine runs in.
//
// It asks the machine's firmware tables (DMI) and the metadata services of all
// clouds side by side, and is done within a second: nothing waits for one
// time-out after another. Firmware that names a cloud decides at once, because
// only the hypervisor writes it. Otherwise the metadata service decides that
// proves itself: with an answer that only that cloud's service gives, not with
// any answer, since a proxy may answer for the link-local address too.
package detect

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/quaymaster/quaymaster/auth"
)

// Cloud is where a machine runs, as the configuration's identity says it.
type Cloud string

// The clouds.
const (
	AWS   Cloud = "aws"
	Azure Cloud = "azure"
	GCP   Cloud = "gcp"
)

// patience bounds the whole detection. A metadata service answers within
// milliseconds or does not exist.
const patience = 900 * time.Millisecond

// Options say where to look. The zero value looks where it should on every
// machine; tests look elsewhere.
type Options struct {
	// DMI is the directory of the firmware tables; empty: /sys/class/dmi/id.
	DMI string
	// Endpoints are the base URLs of metadata services by cloud; nil: the
	// link-local addresses. A service that the environment names in its own
	// SDK's variable decides by itself: see Detect.
	Endpoints map[Cloud]string
	// Getenv reads the environment.
	Getenv func(string) string
}

// finding is what one place said.
type finding struct {
	place string
	cloud Cloud // empty: not it
	why   string
}

// Detect returns the cloud that the machine runs in. A variable that the
// cloud's own SDK reads (AWS_EC2_METADATA_SERVICE_ENDPOINT, GCE_METADATA_HOST)
// says where somebody has put that cloud's metadata service, and so which
// cloud it is; so do those by which ECS gives a task its keys, which is all
// that a task without a metadata service has. Without any sign of a cloud the error wraps auth.ErrNoIdentity
// and lists what was tried.
func Detect(ctx context.Context, o Options) (Cloud, error) {
	if cloud, named := byEnvironment(o.Getenv); named {
		return cloud, nil
	}
	fromFirmware := firmware(o.DMI)
	if fromFirmware.cloud != "" {
		return fromFirmware.cloud, nil
	}
	findings := append([]finding{fromFirmware}, probeAll(ctx, o.Endpoints)...)
	found := map[Cloud]bool{}
	var tried []string
	for _, f := range findings {
		if f.cloud != "" {
			found[f.cloud] = true
		}
		tried = append(tried, f.place+": "+f.why)
	}
	if len(found) > 1 {
		return "", fmt.Errorf("%w that is certain: several metadata services answer; set identity to aws, azure or gcp (%s)",
			auth.ErrNoIdentity, strings.Join(tried, "; "))
	}
	for cloud := range found {
		return cloud, nil
	}
	return "", fmt.Errorf("%w: this does not look like a machine of AWS, Azure or GCP; if it is one, set identity to its name. Tried: %s",
		auth.ErrNoIdentity, strings.Join(tried, "; "))
}

func byEnvironment(getenv func(string) string) (Cloud, bool) {
	gcp, aws := getenv("GCE_METADATA_HOST") != "", false
	for _, name := range []string{"AWS_EC2_METADATA_SERVICE_ENDPOINT", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI"} {
		aws = aws || getenv(name) != ""
	}
	switch {
	case aws && !gcp:
		return AWS, true
	case gcp && !aws:
		return GCP, true
	}
	return "", false
}

// errNotIt is why a probe's answer does not count.
var errNotIt = errors.New("answered, but not as that cloud's metadata service does")
