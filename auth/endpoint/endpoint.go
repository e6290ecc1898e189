// Package endpoint says to which servers a token may be sent.
//
// Whoever sees a token can use it, so it goes to a server over https. Plain
// http is for a server on this machine's loopback: one for development, or a
// proxy that does the encryption.
package endpoint

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
)

// Parse reads the URL of a server that a token may be sent to. The error fits
// behind the name of what holds the address, and repeats no more of it than
// the host, because the rest may hold a password.
func Parse(address string) (*url.URL, error) {
	u, err := url.Parse(address)
	switch {
	case err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Hostname() == "":
		return nil, errors.New("write it as https://host:port")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return nil, errors.New("only scheme, host, port and path may stand in it")
	case u.Scheme == "http" && !loopback(u.Hostname()):
		return nil, fmt.Errorf("tokens would cross the network to %s in clear text: use https (http is for this machine's loopback only)", u.Host)
	}
	return u, nil
}

// loopback goes by the address, or by the one name that must mean loopback
// (RFC 6761, 6.3): what another name means is up to a name server.
func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || (err == nil && ip.IsLoopback())
}
