package vaultsim

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
)

const maxBody = 32 << 20 // bytes; Vault's own max_request_size

// question is a request as the rest of the package sees it.
type question struct {
	operation, path, token string
	query                  url.Values
	body                   map[string]any
}

func newQuestion(w http.ResponseWriter, r *http.Request, path string) (question, error) {
	q := question{operation: operation(r), path: path, token: requestToken(r), query: r.URL.Query(), body: map[string]any{}}
	if q.operation == "" {
		return question{}, errUnsupported
	}
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	err := decoder.Decode(&q.body)
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return question{}, &refusal{http.StatusRequestEntityTooLarge, err.Error()}
	}
	if err != nil && !errors.Is(err, io.EOF) { // EOF: no body at all
		return question{}, badRequest("failed to parse JSON input: " + err.Error())
	}
	return q, nil
}

// operation is what Vault calls the method; empty: one that the stand-in does
// not know. Vault's audit log calls an update of something new "create".
func operation(r *http.Request) string {
	switch r.Method {
	case http.MethodGet:
		return "read"
	case http.MethodPost, http.MethodPut:
		return "update"
	case http.MethodDelete:
		return "delete"
	}
	return ""
}

func requestToken(r *http.Request) string {
	if token := r.Header.Get("X-Vault-Token"); token != "" {
		return token
	}
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	return token
}
