// Package schema holds what the providers aws, azurerm and google say of their
// own resources: the names, nesting and types of all arguments, which of them
// must be given, and which are read only. It is enough for `terraform validate`
// and for `terraform test` with mock_provider, offline and in seconds.
//
// It is a home-made checker of names and types, not the providers, which are
// too large to build here. The schema is taken out of the typed bindings that
// HashiCorp generated from each provider's own schema; schema/extract does
// that, schema/provider serves it to Terraform, and schema/mirror puts that
// where Terraform looks for providers. What it does not see:
//
//   - which values an argument takes (enumerations, lengths, ARNs, CIDRs),
//   - which arguments exclude or need each other,
//   - what is inside a policy or another JSON text,
//   - that an argument is both set and filled in by the provider: the bindings
//     do not say so, but for those in FilledIn,
//   - everything that the cloud itself would refuse.
package schema

import (
	"embed"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Provider is the schema of those of a provider's types that are in use.
type Provider struct {
	Name    string `json:"name"`    // aws
	Version string `json:"version"` // of the provider
	Package string `json:"package"` // that the schema was taken from: name@version
	// Integrity is the digest of the package's archive, as npm writes it.
	Integrity string           `json:"integrity"`
	Config    *Block           `json:"config"` // of the provider itself
	Resources map[string]Block `json:"resources"`
	Data      map[string]Block `json:"data"`
}

// Block is the inside of a resource or of a nested block.
type Block struct {
	// Nesting is list, set or single; empty for a resource. Min and Max bound
	// how many there may be; 0: no bound.
	Nesting    string               `json:"nesting,omitempty"`
	Min        int                  `json:"min,omitempty"`
	Max        int                  `json:"max,omitempty"`
	Attributes map[string]Attribute `json:"attributes,omitempty"`
	Blocks     map[string]Block     `json:"blocks,omitempty"`
}

// Attribute is one argument or one thing to be read. Its JSON is a text such as
// "optional computed set(string)", or an object where it has attributes itself.
type Attribute struct {
	Required, Optional, Computed bool
	// Type is as Terraform writes it: string, number, bool, list(string), …
	// Where the value is made of objects it is empty, and Nesting is list, set,
	// map or single.
	Type       string
	Nesting    string
	Attributes map[string]Attribute
}

// FilledIn are optional arguments that the provider fills in where they are
// not given, whatever the resource.
var FilledIn = []string{"id", "name", "region", "project", "tags_all", "self_link"}

//go:embed *.json
var files embed.FS

// Names are the providers whose schema is here.
var Names = []string{"aws", "azurerm", "google"}

// Read returns the schema of a provider.
func Read(name string) (*Provider, error) {
	text, err := files.ReadFile(name + ".json")
	if err != nil {
		return nil, fmt.Errorf("no schema of %q: %w", name, err)
	}
	read := new(Provider)
	if err := json.Unmarshal(text, read); err != nil {
		return nil, fmt.Errorf("schema of %s: %w", name, err)
	}
	return read, nil
}

type nested struct {
	Use        string               `json:"use"`
	Nesting    string               `json:"nesting"`
	Attributes map[string]Attribute `json:"attributes"`
}

func (a Attribute) use() string {
	var words []string
	for word, is := range map[string]bool{"required": a.Required, "optional": a.Optional, "computed": a.Computed} {
		if is {
			words = append(words, word)
		}
	}
	slices.Sort(words)
	slices.Reverse(words) // optional before computed
	return strings.Join(words, " ")
}

// MarshalJSON implements json.Marshaler.
func (a Attribute) MarshalJSON() ([]byte, error) {
	if a.Nesting != "" {
		return json.Marshal(nested{a.use(), a.Nesting, a.Attributes})
	}
	return json.Marshal(a.use() + " " + a.Type)
}

// UnmarshalJSON implements json.Unmarshaler.
func (a *Attribute) UnmarshalJSON(text []byte) error {
	var object nested
	var use string
	if json.Unmarshal(text, &use) != nil {
		if err := json.Unmarshal(text, &object); err != nil {
			return err
		}
		use, a.Nesting, a.Attributes = object.Use, object.Nesting, object.Attributes
	}
	for _, word := range strings.Fields(use) {
		switch word {
		case "required":
			a.Required = true
		case "optional":
			a.Optional = true
		case "computed":
			a.Computed = true
		default:
			a.Type = word
		}
	}
	return nil
}
