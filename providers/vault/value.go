package vault

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/providers"
)

// values turns what Vault keeps into bytes: a string as it is, anything else
// as its JSON text, a number digit by digit as Vault wrote it.
func values(data map[string]any) (map[string]secret.Value, error) {
	fields := make(map[string]secret.Value, len(data))
	for name, datum := range data {
		if text, isString := datum.(string); isString {
			fields[name] = secret.NewValue([]byte(text))
			continue
		}
		text, err := jsonText(datum)
		if err != nil {
			return nil, fmt.Errorf("%w: field %q has no JSON form", providers.ErrInvalid, name)
		}
		fields[name] = secret.NewValue(text)
	}
	return fields, nil
}

// jsonText leaves < > & as they are: json.Marshal writes for web pages.
func jsonText(datum any) ([]byte, error) {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(datum)
	return bytes.TrimSuffix(text.Bytes(), []byte("\n")), err
}
