package gcpsim

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// entries is the tree of the instance's facts: texts, numbers, and directories
// of them.
func (m *Metadata) entries() map[string]any {
	number := m.cloud.numbers[m.instance.Project]
	attributes := map[string]any{}
	for name, value := range m.instance.Attributes {
		attributes[name] = value
	}
	return map[string]any{
		"project": map[string]any{
			"attributes":         map[string]any{},
			"numeric-project-id": json.Number(number),
			"project-id":         m.instance.Project,
		},
		"instance": map[string]any{
			"attributes":   attributes,
			"hostname":     fmt.Sprintf("%s.%s.c.%s.internal", m.instance.Name, m.instance.Zone, m.instance.Project),
			"id":           json.Number(m.instance.id),
			"machine-type": fmt.Sprintf("projects/%s/machineTypes/e2-small", number),
			"name":         m.instance.Name,
			"zone":         fmt.Sprintf("projects/%s/zones/%s", number, m.instance.Zone),
		},
	}
}

// entry answers with one fact or lists a directory, in the ways that "View and
// query VM metadata" in Compute Engine's documentation tells: as text, or with
// alt=json or recursive=true as JSON. A directory without its slash is
// somewhere else, but for a recursive answer.
func (m *Metadata) entry(header http.Header, r *http.Request) (string, error) {
	query := r.URL.Query()
	recursive := strings.EqualFold(query.Get("recursive"), "true")
	path := strings.TrimPrefix(r.URL.Path, root)
	var at any = m.entries()
	for name := range strings.SplitSeq(strings.TrimSuffix(path, "/"), "/") {
		directory, _ := at.(map[string]any)
		below, found := directory[name]
		if !found {
			return "", errNoMetadata
		}
		at = below
	}
	directory, isDirectory := at.(map[string]any)
	switch {
	case !isDirectory && strings.HasSuffix(path, "/"):
		return "", errNoMetadata
	case recursive || (!isDirectory && query.Get("alt") == "json"):
		return asJSON(header, at, strings.HasSuffix(strings.TrimSuffix(path, "/"), "attributes"))
	case !isDirectory:
		return fmt.Sprint(at), nil
	case !strings.HasSuffix(path, "/"):
		header.Set("Location", r.URL.Path+"/")
		return "", &refusal{http.StatusMovedPermanently, "", "", "Moved Permanently"}
	}
	return listing(directory), nil
}

// listing is what lies directly below a directory, one name a line, with a
// slash when there is more below it.
func listing(directory map[string]any) string {
	var lines strings.Builder
	for _, name := range slices.Sorted(maps.Keys(directory)) {
		lines.WriteString(name)
		if _, deeper := directory[name].(map[string]any); deeper {
			lines.WriteString("/")
		}
		lines.WriteString("\n")
	}
	return lines.String()
}

// asJSON writes an entry. Names become camelCase there, but for those that
// people gave to attributes.
func asJSON(header http.Header, entry any, given bool) (string, error) {
	header.Set("Content-Type", "application/json")
	text, err := json.Marshal(camelCased(entry, given))
	if err != nil {
		return "", fmt.Errorf("writing metadata: %w", err)
	}
	return string(text), nil
}

func camelCased(entry any, given bool) any {
	directory, is := entry.(map[string]any)
	if !is {
		return entry
	}
	renamed := map[string]any{}
	for name, below := range directory {
		words := strings.Split(name, "-")
		for i := range words {
			if i > 0 && words[i] != "" {
				words[i] = strings.ToUpper(words[i][:1]) + words[i][1:]
			}
		}
		key := strings.Join(words, "")
		if given {
			key = name
		}
		renamed[key] = camelCased(below, name == "attributes")
	}
	return renamed
}
