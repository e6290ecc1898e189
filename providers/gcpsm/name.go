package gcpsm

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/providers"
)

// name is a version of a secret as the API names it.
type name struct {
	ref      secret.Ref // for messages
	base     string     // the URL of the API that keeps it
	resource string     // projects/P/secrets/S or projects/P/locations/L/secrets/S
	project  string
	location string // empty: global
	secret   string
	version  string // a number, "latest" or an alias
}

// What the API allows in names, as "Create a secret" and "Create and manage
// projects" in Google's documentation say: an ID of a project may begin with
// the domain of its organisation, and its number will do.
var (
	projects  = regexp.MustCompile(`^([a-z0-9.-]+:)?[a-z0-9][a-z0-9-]{0,29}$`)
	locations = regexp.MustCompile(`^[a-z][a-z0-9-]{0,62}$`)
	secrets   = regexp.MustCompile(`^[A-Za-z0-9_-]{1,255}$`)
	versions  = regexp.MustCompile(`^([1-9][0-9]{0,18}|[A-Za-z][A-Za-z0-9_-]{0,62})$`)
)

// name reads a ref. What the API could not have is not asked for: it would be
// taken for another path.
func (p *Provider) name(ref secret.Ref) (name, error) {
	invalid := func(reason string, args ...any) (name, error) {
		return name{}, fmt.Errorf("GCP Secret Manager: %w: %s: %s", providers.ErrInvalid, ref, fmt.Sprintf(reason, args...))
	}
	n := name{ref: ref, version: ref.Version}
	switch parts := strings.Split(ref.Path, "/"); len(parts) {
	case 2:
		n.project, n.secret = parts[0], parts[1]
	case 3:
		n.project, n.location, n.secret = parts[0], parts[1], parts[2]
	default:
		return invalid("write %s:project/secret, or %s:project/location/secret", ref.Provider, ref.Provider)
	}
	if n.version == "" {
		n.version = "latest"
	}
	switch {
	case len(ref.Params) > 0:
		return invalid("a secret takes no parameters")
	case !projects.MatchString(n.project):
		return invalid("%q is not the ID of a project, nor its number", n.project)
	case n.location != "" && !locations.MatchString(n.location):
		return invalid("%q is not a location", n.location)
	case !secrets.MatchString(n.secret):
		return invalid("%q is not the name of a secret: it has letters, digits, dashes and underscores, and 255 of them at most", n.secret)
	case !versions.MatchString(n.version):
		return invalid("@%s is neither the number of a version nor an alias", n.version)
	}
	n.resource = "projects/" + n.project + "/secrets/" + n.secret
	n.base = "https://secretmanager.googleapis.com"
	if n.location != "" {
		n.resource = "projects/" + n.project + "/locations/" + n.location + "/secrets/" + n.secret
		n.base = "https://secretmanager." + n.location + ".rep.googleapis.com"
	}
	if p.endpoint != "" {
		n.base = p.endpoint
	}
	return n, nil
}

// url is where the version is asked for.
func (n name) url(method string) string {
	return n.base + "/v1/" + n.resource + "/versions/" + n.version + method
}

// number is the number of the version that an answer is about; empty: the
// answer is about something else. Answers name projects by their numbers.
func (n name) number(answered string) string {
	of, number, found := strings.Cut(answered, "/secrets/"+n.secret+"/versions/")
	if !found || !strings.HasPrefix(of, "projects/") || !versions.MatchString(number) || number[0] > '9' {
		return ""
	}
	return number
}

// flags are how gcloud names the secret.
func (n name) flags() string {
	flags := n.secret + " --project=" + n.project
	if n.location != "" {
		flags += " --location=" + n.location
	}
	return flags
}
