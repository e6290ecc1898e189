package gcpsm

import "github.com/quaymaster/quaymaster/broker/secret"

// Fields is tested without a server, which would be in the way of a fuzzer.
var Fields = fields

// URL is where the payload of ref is asked for.
func URL(ref secret.Ref) (string, error) {
	n, err := (&Provider{}).name(ref)
	if err != nil {
		return "", err
	}
	return n.url(":access"), nil
}
