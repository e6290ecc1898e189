package vaultclient

import (
	"context"
	"encoding/json"
	"fmt"
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
	// Whatever state the server is in, it is to say what it is: its defaults
	// are 429 for a standby and 501, 503 and more for others.
	states := map[string][]string{
		"standbyok": {"true"}, "perfstandbyok": {"true"}, "drsecondarycode": {"299"}, "sealedcode": {"299"}, "uninitcode": {"299"},
	}
	answer, err := c.Anonymous().WithNamespace("").Logical().ReadRawWithDataWithContext(ctx, "sys/health", states)
	if err != nil {
		return false, err
	}
	defer answer.Body.Close()
	var health struct {
		Version    string `json:"version"`
		Enterprise *bool  `json:"enterprise"`
	}
	if err := json.NewDecoder(answer.Body).Decode(&health); err != nil {
		return false, fmt.Errorf("reading sys/health: %w", err)
	}
	return isCommunity(health.Version, health.Enterprise), nil
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
