package gcpsim

import (
	"encoding/json"
	"errors"
	"net/http"
)

// refusal is an error as Google answers it: the status twice, as a number and
// as a name of "google.rpc.Code", and a reason where there is one.
type refusal struct {
	code           int
	status, reason string
	message        string
}

func (r *refusal) Error() string { return r.message }

// The errors that have one text each, as clients see them.
var (
	errNoMetadata      = &refusal{http.StatusNotFound, "", "", "The requested URL was not found on this server."}
	errUnauthenticated = &refusal{http.StatusUnauthorized, "UNAUTHENTICATED", "ACCESS_TOKEN_INVALID", "Request had invalid authentication credentials."}
	errScope           = &refusal{http.StatusForbidden, "PERMISSION_DENIED", "ACCESS_TOKEN_SCOPE_INSUFFICIENT", "Request had insufficient authentication scopes."}
)

func mayNot(permission, on string) error {
	return &refusal{http.StatusForbidden, "PERMISSION_DENIED", "IAM_PERMISSION_DENIED",
		"Permission '" + permission + "' denied on " + on + " (or it may not exist)."}
}

func notFound(message string) error {
	return &refusal{http.StatusNotFound, "NOT_FOUND", "", message}
}

func invalid(message string) error {
	return &refusal{http.StatusBadRequest, "INVALID_ARGUMENT", "", message}
}

// statusOf is the status to answer err with.
func statusOf(err error) int {
	if refused, ok := errors.AsType[*refusal](err); ok {
		return refused.code
	}
	return http.StatusInternalServerError
}

// refuse answers as Google's APIs do.
func refuse(w http.ResponseWriter, err error) {
	refused, ok := errors.AsType[*refusal](err)
	if !ok {
		refused = &refusal{http.StatusInternalServerError, "INTERNAL", "", err.Error()}
	}
	body := map[string]any{"code": refused.code, "message": refused.message, "status": refused.status}
	if refused.reason != "" {
		body["details"] = []any{map[string]any{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": refused.reason}}
	}
	w.WriteHeader(refused.code)
	json.NewEncoder(w).Encode(map[string]any{"error": body}) // a client that went away needs no answer
}
