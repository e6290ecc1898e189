package config

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// tagged are the keys that tags of an instance may set, as tags spell them:
// where to log in and as whom, and nothing else. Who may tag an instance need
// not be root on it.
func tagged() map[string]string {
	r := reader{}
	keys := map[string]string{"identity": "identity", "aws-login": "aws.login", "azure-client-id": "azure.client_id", "gcp-login": "gcp.login"}
	for key := range r.vault(&Vault{}) {
		keys["vault-"+strings.ReplaceAll(key, "_", "-")] = "vault." + key
	}
	return keys
}

// plainScalar is what a tag can mean that is not text.
var plainScalar = regexp.MustCompile(`^(true|false|[0-9]+)$`)

// ReadTags reads the tags of an instance whose names begin with prefix:
// "quaymaster-vault-address" is vault.address. origin names a tag in problems.
func ReadTags(prefix string, tags map[string]string, origin func(tag string) string) (Layer, error) {
	var texts []Text
	var problems Problems
	known := tagged()
	for _, tag := range slices.Sorted(maps.Keys(tags)) {
		name, ours := strings.CutPrefix(strings.ToLower(tag), prefix)
		if !ours {
			continue
		}
		key, found := known[name]
		if !found {
			problems = append(problems, unknownTag(origin(tag), name, slices.Sorted(maps.Keys(known))))
			continue
		}
		texts = append(texts, Text{Origin: origin(tag), Data: []byte(tagText(key, strings.TrimSpace(tags[tag])))})
	}
	layer, err := ReadLayer(texts...)
	if found, _ := err.(Problems); len(found) > 0 { // as ReadLayer says
		for _, problem := range found {
			problem.Line, problem.Column = 0, 0 // of a text that nobody has seen
			problems = append(problems, problem)
		}
	}
	if len(problems) > 0 {
		return nil, problems
	}
	return layer, nil
}

func unknownTag(origin, name string, known []string) Problem {
	message := "unknown key"
	if near := nearest(name, known); near != "" {
		message += ", did you mean " + near + "?"
	} else {
		message += ": a tag sets identity, or a key of vault, aws, azure or gcp"
	}
	return Problem{Place: Place{File: origin}, Message: message}
}

// tagText is a tag as a document.
func tagText(key, value string) string {
	if !plainScalar.MatchString(value) {
		value = quoted(value)
	}
	if block, key, inBlock := strings.Cut(key, "."); inBlock {
		return fmt.Sprintf("%s: {%s: %s}", block, key, value)
	}
	return fmt.Sprintf("%s: %s", key, value)
}
