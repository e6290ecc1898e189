package vaultclient

import (
	"context"
	"strings"
)

// IgnoresNamespaces reports whether the server would not heed the client's
// namespace: Vault's Community edition answers such a request from its root,
// as if none had been named. It asks nothing when the client has no namespace.
// The error is one for Classify.
func (c *Client) IgnoresNamespaces(ctx context.Context) (bool, error) {
	if c.namespace == "" {
		return false, nil
	}
	health, err := c.Health(ctx)
	if err != nil {
		return false, err
	}
	return isCommunity(health.Version, health.enterprise), nil
}

// isCommunity reports whether sys/health describes a Vault Community. Older
// Vaults do not say so, but mark the version of an Enterprise server, as in
// 1.13.1+ent. A server that is neither, such as a fork with versions of its
// own, is given the benefit of the doubt.
func isCommunity(version string, enterprise *bool) bool {
	vault := strings.HasPrefix(version, "0.") || strings.HasPrefix(version, "1.")
	if enterprise == nil {
		return vault && !strings.Contains(version, "+")
	}
	return !*enterprise
}
