package azurekv

import (
	"mime"

	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/providers"
)

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
		if fields, isObject := providers.Members([]byte(value)); isObject {
			return fields, nil
		}
	}
	return map[string]secret.Value{providers.OnlyField: text(value)}, nil
}

func text(s string) secret.Value { return secret.NewValue([]byte(s)) }
