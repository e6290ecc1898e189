package gcpsm

import (
	"bytes"
	"encoding/json"
	"unicode/utf8"

	"github.com/quaymaster/quaymaster/broker/secret"
)

// single is the field of a payload that is no JSON object.
const single = "value"

// fields takes a payload apart, which it owns: a JSON object into its fields,
// where a string is its text and anything else stays JSON. An object without
// fields is a value like any other.
func fields(payload []byte) map[string]secret.Value {
	var object map[string]json.RawMessage
	if trimmed := bytes.TrimSpace(payload); len(trimmed) == 0 || trimmed[0] != '{' || !utf8.Valid(payload) ||
		json.Unmarshal(payload, &object) != nil || len(object) == 0 {
		return map[string]secret.Value{single: secret.NewValue(payload)}
	}
	found := make(map[string]secret.Value, len(object))
	for name, content := range object {
		var text string
		if content[0] != '"' || json.Unmarshal(content, &text) != nil {
			found[name] = secret.NewValue(content)
			continue
		}
		found[name] = secret.NewValue([]byte(text))
		clear(content)
	}
	clear(payload)
	return found
}
