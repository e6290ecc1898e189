package awssm

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/providers"
)

// store is one of the two services.
type store struct{ title, prefix string } // for people; in ARNs

var (
	secretsManager = store{"AWS Secrets Manager", "secretsmanager"}
	parameterStore = store{"AWS Parameter Store", "ssm"}
)

// target is what a ref means to AWS.
type target struct {
	ref       secret.Ref // whole
	store     store
	id        string // a name or an ARN; of a hierarchy: its path
	region    string // of an ARN; empty: the provider's own
	below     bool   // a hierarchy of parameters is meant
	recursive bool
}

// What AWS allows in names and versions ("CreateSecret", "PutSecretValue" and
// "PutParameter", "LabelParameterVersion" in the API references).
var (
	secretName       = regexp.MustCompile(`^[A-Za-z0-9/_+=.@!-]{1,512}$`)
	parameterName    = regexp.MustCompile(`^[A-Za-z0-9/_.-]+$`)
	secretVersion    = regexp.MustCompile(`^.{1,256}$`)
	parameterVersion = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,100}$`)
	account          = regexp.MustCompile(`^[0-9]{12}$`)
)

// parse finds out what a ref means, without a request. Its errors are ErrInvalid.
func parse(ref secret.Ref) (target, error) {
	t := target{ref: ref.Whole(), store: secretsManager, id: ref.Path}
	if below, is := strings.CutPrefix(ref.Path, "ssm/"); is {
		t.store, t.id = parameterStore, below
	}
	for _, step := range []func(*target) error{(*target).parseParams, (*target).parseID, (*target).checkVersion} {
		if err := step(&t); err != nil {
			return target{}, fmt.Errorf("%w: %s: %w", providers.ErrInvalid, t.ref, err)
		}
	}
	return t, nil
}

func (t *target) parseParams() error {
	for name, values := range t.ref.Params {
		switch {
		case len(values) == 1 && name == "name":
		case len(values) == 1 && name == "recursive" && t.store == parameterStore && strings.HasSuffix(t.id, "/*") && values[0] == "true":
			t.recursive = true
		case name == "recursive":
			return fmt.Errorf("recursive=true goes with all parameters below a path: ssm/path/*?recursive=true")
		default:
			return fmt.Errorf("%s takes no parameter %q (or not twice)", t.store.title, name)
		}
	}
	return nil
}

func (t *target) parseID() error {
	name, hasName := t.ref.Params["name"]
	switch {
	case strings.HasPrefix(t.id, "arn:"):
		return t.parseARN()
	case t.store == parameterStore && (t.id == "*" || strings.HasSuffix(t.id, "/*")):
		t.id, t.below = "/"+strings.TrimSuffix(strings.TrimSuffix(t.id, "*"), "/"), true
	case hasName:
		if plain(name[0]) != t.id {
			return fmt.Errorf("name=%s differs from the path in more than slashes: the path to write is %s", name[0], plain(name[0]))
		}
		t.id = name[0]
	case t.store == parameterStore && strings.Contains(t.id, "/"):
		t.id = "/" + t.id
	}
	switch {
	case t.store == secretsManager && !secretName.MatchString(t.id):
		return fmt.Errorf("the name of a secret has up to 512 letters, digits and /_+=.@!-")
	case t.store == parameterStore && strings.Contains(t.id, ":"):
		return fmt.Errorf("the version of a parameter is written @version")
	case t.store == parameterStore && !parameterName.MatchString(t.id):
		return fmt.Errorf("the name of a parameter has letters, digits and /_.-")
	case t.below && hasName:
		return fmt.Errorf("name= goes with one parameter, not with all below a path")
	}
	return nil
}

// plain is a name without the slashes and segments that no path can have.
func plain(name string) string {
	segments := slices.DeleteFunc(strings.Split(name, "/"), func(s string) bool { return s == "" || s == "." || s == ".." })
	return strings.Join(segments, "/")
}

// parseARN reads arn:partition:service:region:account:secret:name, or
// …:parameter/name. Who names the ARN names the region, too.
func (t *target) parseARN() error {
	parts := strings.SplitN(t.id, ":", 6)
	if len(parts) < 6 || !regionName.MatchString(parts[3]) || !account.MatchString(parts[4]) {
		return fmt.Errorf("an ARN is written arn:aws:%s:region:account:…", t.store.prefix)
	}
	if len(t.ref.Params) > 0 {
		return fmt.Errorf("an ARN takes no parameters")
	}
	service, resource := parts[2], parts[5]
	name, isSecret := strings.CutPrefix(resource, "secret:")
	parameter, isParameter := strings.CutPrefix(resource, "parameter/")
	switch {
	case service == parameterStore.prefix && t.store == secretsManager:
		return fmt.Errorf("the ARN of a parameter is written ssm/arn:…")
	case service != t.store.prefix:
		return fmt.Errorf("the ARN is one of %q, not of %s", service, t.store.title)
	case t.store == secretsManager && (!isSecret || !secretName.MatchString(name)):
		return fmt.Errorf("the ARN of a secret ends in secret:name")
	case t.store == parameterStore && (!isParameter || !parameterName.MatchString(parameter)):
		return fmt.Errorf("the ARN of a parameter ends in parameter/name, and its version is written @version")
	}
	t.region = parts[3]
	return nil
}

func (t *target) checkVersion() error {
	version := t.ref.Version
	switch {
	case version == "":
		return nil
	case t.below:
		return fmt.Errorf("all parameters below a path are read in their current versions: leave out @%s", version)
	case t.store == secretsManager && !secretVersion.MatchString(version):
		return fmt.Errorf("a version is a staging label of up to 256 characters, or the ID of a version")
	case t.store == parameterStore && !parameterVersion.MatchString(version):
		return fmt.Errorf("a version is a number or a label")
	}
	return nil
}

// in is how the target is named in a region: a replica has the same ARN but
// for the region.
func (t target) in(region string) string {
	if t.region == "" {
		return t.id
	}
	parts := strings.SplitN(t.id, ":", 6)
	parts[3] = region
	return strings.Join(parts, ":")
}

// regions are those to ask for the target, in order.
func (p *Provider) regionsOf(t target) []string {
	first := p.region
	if t.region != "" {
		first = t.region
	}
	if t.store != secretsManager || first != p.region {
		return []string{first}
	}
	return append([]string{first}, p.replicas...)
}
