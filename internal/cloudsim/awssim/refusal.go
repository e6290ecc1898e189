package awssim

import (
	"fmt"
	"net/http"
)

// refusal is an error as AWS's Query APIs answer it.
type refusal struct {
	status        int
	code, message string
}

func (r *refusal) Error() string { return r.code + ": " + r.message }

// The errors that have one text each. Codes and status are those of "Common
// Errors" in the STS and IAM API references; texts are those that clients see.
var (
	errUnsigned     = &refusal{http.StatusForbidden, "MissingAuthenticationToken", "Request is missing Authentication Token"}
	errInvalidToken = &refusal{http.StatusForbidden, "InvalidClientTokenId", "The security token included in the request is invalid."}
	errExpiredToken = &refusal{http.StatusForbidden, "ExpiredToken", "The security token included in the request is expired"}
)

// incomplete: the request does not carry what a signature needs.
func incomplete(format string, args ...any) error {
	return &refusal{http.StatusBadRequest, "IncompleteSignature", fmt.Sprintf(format, args...)}
}

// mismatch: the signature is not one for this request, here and now.
func mismatch(format string, args ...any) error {
	return &refusal{http.StatusForbidden, "SignatureDoesNotMatch", fmt.Sprintf(format, args...)}
}

func badRequest(code, format string, args ...any) error {
	return &refusal{http.StatusBadRequest, code, fmt.Sprintf(format, args...)}
}
