package vaultclient

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
)

// Health is what a server says of itself to whoever asks (sys/health).
type Health struct {
	Version     string
	Initialized bool
	Sealed      bool
	Standby     bool // it hands requests on to the active server, or answers reads itself
	// Header is that of the answer: its Date is the server's clock.
	Header     http.Header
	enterprise *bool // nil: it did not say
}

// Health asks the server how it is, whatever state it is in. The error is one
// for Classify.
func (c *Client) Health(ctx context.Context) (Health, error) {
	// The server's defaults are 429 for a standby and 501, 503 and more for
	// others, which would be errors.
	states := map[string][]string{
		"standbyok": {"true"}, "perfstandbyok": {"true"}, "drsecondarycode": {"299"}, "sealedcode": {"299"}, "uninitcode": {"299"},
	}
	answer, err := c.Anonymous().WithNamespace("").Logical().ReadRawWithDataWithContext(ctx, "sys/health", states)
	if err != nil {
		return Health{}, err
	}
	defer answer.Body.Close()
	var said struct {
		Version     string `json:"version"`
		Initialized bool   `json:"initialized"`
		Sealed      bool   `json:"sealed"`
		Standby     bool   `json:"standby"`
		Enterprise  *bool  `json:"enterprise"`
	}
	if err := json.NewDecoder(answer.Body).Decode(&said); err != nil {
		return Health{}, fmt.Errorf("reading sys/health: %w", err)
	}
	return Health{said.Version, said.Initialized, said.Sealed, said.Standby, answer.Header, said.Enterprise}, nil
}
