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
	// SDK's variable decides by itself: see Find.
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

// Found is the cloud that a machine runs in, and what says so, for people.
type Found struct {
	Cloud Cloud
	By    string // "firmware (/sys/class/dmi/id): sys_vendor says aws"
}

// Detect returns the cloud that the machine runs in, as Find finds it.
func Detect(ctx context.Context, o Options) (Cloud, error) {
	found, err := Find(ctx, o)
	return found.Cloud, err
}

// Find returns the cloud that the machine runs in. A variable that the
// cloud's own SDK reads (AWS_EC2_METADATA_SERVICE_ENDPOINT, GCE_METADATA_HOST)
// says where somebody has put that cloud's metadata service, and so which
// cloud it is; so do those by which ECS gives a task its keys, which is all
// that a task without a metadata service has. Without any sign of a cloud the error wraps auth.ErrNoIdentity
// and lists what was tried.
func Find(ctx context.Context, o Options) (Found, error) {
	if found, named := byEnvironment(o.Getenv); named {
		return found, nil
	}
	fromFirmware := firmware(o.DMI)
	if fromFirmware.cloud != "" {
		return fromFirmware.found(), nil
	}
	findings := append([]finding{fromFirmware}, probeAll(ctx, o.Endpoints)...)
	found := map[Cloud]Found{}
	var tried []string
	for _, f := range findings {
		if f.cloud != "" {
			found[f.cloud] = f.found()
		}
		tried = append(tried, f.place+": "+f.why)
	}
	if len(found) > 1 {
		return Found{}, fmt.Errorf("%w that is certain: several metadata services answer; set identity to aws, azure or gcp (%s)",
			auth.ErrNoIdentity, strings.Join(tried, "; "))
	}
	for _, only := range found {
		return only, nil
	}
	return Found{}, fmt.Errorf("%w: this does not look like a machine of AWS, Azure or GCP; if it is one, set identity to its name. Tried: %s",
		auth.ErrNoIdentity, strings.Join(tried, "; "))
}

func (f finding) found() Found { return Found{f.cloud, f.place + ": " + f.why} }

func byEnvironment(getenv func(string) string) (Found, bool) {
	gcp, aws := "", ""
	if getenv(gcpVariable) != "" {
		gcp = gcpVariable
	}
	for _, name := range []string{awsVariable, "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI"} {
		if aws == "" && getenv(name) != "" {
			aws = name
		}
	}
	switch {
	case aws != "" && gcp == "":
		return Found{AWS, "the variable " + aws}, true
	case gcp != "" && aws == "":
		return Found{GCP, "the variable " + gcp}, true
	}
	return Found{}, false
}

// errNotIt is why a probe's answer does not count.
var errNotIt = errors.New("answered, but not as that cloud's metadata service does")
