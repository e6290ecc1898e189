package vault_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/providers"
)

func TestLeasesThatCannotBeRenewed(t *testing.T) {
	w := newWorld(t)
	for _, lease := range []secret.Lease{{}, {ID: "m/creds/x/AbC"}, {Renewable: true, TTL: time.Hour}} {
		_, err := w.provider.Renew(t.Context(), lease)
		checkError(t, err, providers.ErrInvalid, "it cannot be renewed", w.address)
	}
	if err := w.provider.Revoke(t.Context(), secret.Lease{TTL: time.Hour}); err != nil {
		t.Error(err)
	}
	lease := secret.Lease{ID: "m/creds/x/AbC", Renewable: true}
	for body, kind := range map[string]error{
		`{"data":{}}`: providers.ErrNotFound, `{"errors":["lease expired"]}`: providers.ErrNotFound,
		`{"errors":["lease is not renewable"]}`:                                             providers.ErrInvalid,
		`{"errors":["failed to renew entry: resp: (*logical.Response)(nil) err: refused"]}`: providers.ErrUnavailable,
	} {
		status := http.StatusBadRequest
		if !strings.Contains(body, "errors") {
			status = http.StatusOK
		}
		w.answers("sys/leases/renew", status, body)
		_, err := w.provider.Renew(t.Context(), lease)
		checkError(t, err, kind, "renewing a lease of m/creds/x")
		if strings.Contains(fmt.Sprint(err), "AbC") {
			t.Errorf("the whole ID is in: %v", err)
		}
	}
}

// A lease ends with the token that it was given under.
func TestBound(t *testing.T) {
	w := newWorld(t)
	ends := w.now.Add(time.Minute)
	w.tokens.superseded = map[string]time.Time{"old": ends, "dead": {}}
	for token, want := range map[string]time.Time{"": {}, accessor: {}, "old": ends, "dead": w.now} {
		if got := w.provider.Bound(secret.Lease{ID: "m/creds/x/AbC", Token: token}); !got.Equal(want) {
			t.Errorf("%q: bound at %s, want %s", token, got, want)
		}
	}
}
