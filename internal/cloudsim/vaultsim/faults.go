package vaultsim

import (
	"net/http"
	"strconv"

	"github.com/quaymaster/quaymaster/internal/cloudsim"
)

// Faults of a Vault, for Vault.Set. Sealing is a state and has its own switch.
var (
	// Failing is a server with an error of its own, in its storage for example.
	Failing = cloudsim.Fault{Status: http.StatusInternalServerError, Header: jsonType, Body: `{"errors":["internal error"]}`}
	// Garbage is an answer that begins as JSON and ends as none.
	Garbage = cloudsim.Fault{Status: http.StatusOK, Header: jsonType, Body: `{"request_id":"0`}
	// Foreign is a proxy in the way.
	Foreign = cloudsim.Fault{Status: http.StatusBadGateway, Header: http.Header{"Content-Type": {"text/html"}},
		Body: "<html><body>502 Bad Gateway</body></html>"}
)

var jsonType = http.Header{"Content-Type": {"application/json"}}

// RateLimited is a server whose quota is used up, for this many seconds more.
func RateLimited(seconds int) cloudsim.Fault {
	return cloudsim.Fault{Status: http.StatusTooManyRequests,
		Header: http.Header{"Content-Type": {"application/json"}, "Retry-After": {strconv.Itoa(seconds)}},
		Body:   `{"errors":["rate limit quota exceeded"]}`}
}
