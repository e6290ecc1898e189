package azurekv

import (
	"encoding/json"
	"mime"

	"github.com/quaymaster/quaymaster/broker/secret"
)

// onlyField is the field of a secret that has no fields of its own.
const onlyField = "value"

// The content types that mean something here; the last two are those that Key
// Vault gives to the secret of a certificate.
const (
	jsonType = "application/json"
	pfxType  = "application/x-pkcs12"
	pemType  = "application/x-pem-file"
)

// fieldsOf takes a secret apart as its content type says.
func fieldsOf(value string, contentType *string) (map[string]secret.Value, error) {
	var kind string
	if contentType != nil {
		kind, _, _ = mime.ParseMediaType(*contentType) // what is none means nothing; people write descriptions there
	}
	switch kind {
	case pfxType:
		return pfxFields(value)
	case pemType:
		return pemFields(value)
	case jsonType:
		if fields, isObject := jsonFields(value); isObject {
			return fields, nil
		}
	}
	return map[string]secret.Value{onlyField: text(value)}, nil
}

// jsonFields are the members of an object: a string as it is, anything else as
// its JSON text. What is no object, or has no members, has no fields.
func jsonFields(value string) (map[string]secret.Value, bool) {
	content := []byte(value)
	defer clear(content)
	var members map[string]json.RawMessage // which are copies
	if json.Unmarshal(content, &members) != nil || len(members) == 0 {
		return nil, false
	}
	fields := make(map[string]secret.Value, len(members))
	for name, raw := range members {
		var content string
		if raw[0] == '"' && json.Unmarshal(raw, &content) == nil {
			fields[name] = text(content)
			continue
		}
		fields[name] = secret.NewValue(raw)
	}
	return fields, true
}

func text(s string) secret.Value { return secret.NewValue([]byte(s)) }
