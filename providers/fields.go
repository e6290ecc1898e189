package providers

import (
	"bytes"
	"encoding/json"
	"unicode/utf8"

	"github.com/quaymaster/quaymaster/broker/secret"
)

// OnlyField is the field of a secret that its store keeps as one value.
const OnlyField = "value"

// Fields takes a value apart, which it owns, for stores that keep one value for
// each secret and know nothing of fields: a JSON object has its members, any
// other value is the OnlyField.
func Fields(value []byte) map[string]secret.Value {
	if members, isObject := Members(value); isObject {
		clear(value)
		return members
	}
	return map[string]secret.Value{OnlyField: secret.NewValue(value)}
}

// Members are those of a JSON object: a string is its text, and anything else
// stays JSON. An object without members is a value like any other, and so is
// what is not UTF-8, which JSON would have to mend.
func Members(value []byte) (map[string]secret.Value, bool) {
	var object map[string]json.RawMessage // whose values are copies
	if trimmed := bytes.TrimSpace(value); len(trimmed) == 0 || trimmed[0] != '{' || !utf8.Valid(value) ||
		json.Unmarshal(value, &object) != nil || len(object) == 0 {
		return nil, false
	}
	members := make(map[string]secret.Value, len(object))
	for name, content := range object {
		var text string
		if content[0] == '"' && json.Unmarshal(content, &text) == nil {
			clear(content)
			content = []byte(text)
		}
		members[name] = secret.NewValue(content)
	}
	return members, true
}
