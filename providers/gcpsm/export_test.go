package gcpsm

import "github.com/quaymaster/quaymaster/broker/secret"

// URL is where the payload of ref is asked for. It is tested without a server,
// which would be in the way of a fuzzer.
func URL(ref secret.Ref) (string, error) {
	n, err := (&Provider{}).name(ref)
	if err != nil {
		return "", err
	}
	return n.url(":access"), nil
}
