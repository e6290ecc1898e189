package vaultsim

import (
	"encoding/json"
	"errors"
	"net/http"
)

// answer is the envelope of whatever Vault answers. A nil answer without an
// error is 204.
type answer struct {
	status int // zero: 200

	RequestID     string      `json:"request_id"`
	LeaseID       string      `json:"lease_id"`
	Renewable     bool        `json:"renewable"`
	LeaseDuration int         `json:"lease_duration"`
	Data          any         `json:"data"`
	WrapInfo      any         `json:"wrap_info"`
	Warnings      []string    `json:"warnings"`
	Auth          *authAnswer `json:"auth"`
	MountType     string      `json:"mount_type"`
}

// authAnswer is what a login or a renewal yields.
type authAnswer struct {
	ClientToken    string            `json:"client_token"`
	Accessor       string            `json:"accessor"`
	Policies       []string          `json:"policies"`
	TokenPolicies  []string          `json:"token_policies"`
	Metadata       map[string]string `json:"metadata"`
	LeaseDuration  int               `json:"lease_duration"`
	Renewable      bool              `json:"renewable"`
	EntityID       string            `json:"entity_id"`
	TokenType      string            `json:"token_type"`
	Orphan         bool              `json:"orphan"`
	MFARequirement any               `json:"mfa_requirement"`
	NumUses        int               `json:"num_uses"`
}

// refusal is an error as Vault answers it. An empty message is an empty list.
type refusal struct {
	status  int
	message string
}

func (r *refusal) Error() string { return r.message }

// The errors that have one text each, as Vault writes them.
var (
	errSealed       = &refusal{http.StatusServiceUnavailable, "Vault is sealed"}
	errNoToken      = &refusal{http.StatusForbidden, "permission denied"}
	errDenied       = &refusal{http.StatusForbidden, "1 error occurred:\n\t* permission denied\n\n"}
	errInvalidToken = &refusal{http.StatusForbidden, "2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n"}
	errUnsupported  = &refusal{http.StatusMethodNotAllowed, "1 error occurred:\n\t* unsupported operation\n\n"}
)

func badRequest(message string) error { return &refusal{http.StatusBadRequest, message} }

func notFound(message string) error { return &refusal{http.StatusNotFound, message} }

func respond(w http.ResponseWriter, answered *answer, err error) {
	refused, decided := errors.AsType[*refusal](err)
	if err != nil && !decided {
		refused = &refusal{http.StatusInternalServerError, err.Error()}
	}
	switch {
	case err != nil:
		messages := []string{}
		if refused.message != "" {
			messages = append(messages, refused.message)
		}
		write(w, refused.status, map[string][]string{"errors": messages})
	case answered == nil:
		w.WriteHeader(http.StatusNoContent)
	case answered.status != 0:
		write(w, answered.status, answered)
	default:
		write(w, http.StatusOK, answered)
	}
}

func write(w http.ResponseWriter, status int, body any) {
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(body) // a client that went away needs no answer
}
