package awssim

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"

	"github.com/quaymaster/quaymaster/internal/cloudsim"
)

// JSONService is one of AWS's JSON 1.1 APIs: a header names the operation, a
// JSON document comes in by POST, another goes out.
type JSONService struct {
	cloudsim.Faults   // the path is the operation
	cloudsim.Requests // the operation is the operation, every path is ""

	account      *Account
	permissions  *Permissions
	name, region string // as requests are signed for it
	target       string // what stands before the operation in X-Amz-Target
	operations   map[string]operation
}

// operation answers one request of a caller whose signature was verified.
type operation func(caller issued, body []byte) (any, error)

// Faults of JSON services. Codes and status are those of "Common Errors" in
// their API references.
var (
	JSONThrottled = cloudsim.Fault{Status: http.StatusBadRequest, Body: `{"__type":"ThrottlingException","message":"Rate exceeded"}`}
	JSONFailing   = cloudsim.Fault{Status: http.StatusInternalServerError,
		Body: `{"__type":"InternalServiceError","message":"An error occurred on the server side."}`}
)

// ServeHTTP implements http.Handler.
func (s *JSONService) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	target := r.Header.Get("X-Amz-Target")
	name := strings.TrimPrefix(target, s.target+".")
	s.Record(name, "")
	if s.Strike(w, r, name) {
		return
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	w.Header().Set("X-Amzn-Requestid", s.account.env.UUID())
	var result any
	if err == nil {
		result, err = s.act(r, name, body)
	}
	if err != nil {
		s.refuse(w, err)
		return
	}
	json.NewEncoder(w).Encode(result) // a client that went away needs no answer
}

func (s *JSONService) act(r *http.Request, name string, body []byte) (any, error) {
	caller, err := s.account.verify(r, body, s.name, s.region)
	if err != nil {
		return nil, err
	}
	act, known := s.operations[name]
	if !known || r.Method != http.MethodPost || name == r.Header.Get("X-Amz-Target") {
		return nil, badRequest("UnknownOperationException", "")
	}
	return act(caller, body)
}

// queryCodes are the codes that JSON services have for what the verifier of
// signatures calls by the Query APIs' names.
var queryCodes = map[string]string{
	"MissingAuthenticationToken": "MissingAuthenticationTokenException",
	"InvalidClientTokenId":       "UnrecognizedClientException",
	"ExpiredToken":               "ExpiredTokenException",
	"IncompleteSignature":        "IncompleteSignatureException",
	"SignatureDoesNotMatch":      "InvalidSignatureException",
}

func (s *JSONService) refuse(w http.ResponseWriter, err error) {
	refused, decided := errors.AsType[*refusal](err)
	if !decided { // the body could not be read
		refused = &refusal{http.StatusRequestEntityTooLarge, "RequestEntityTooLarge", err.Error()}
	}
	code, status := refused.code, refused.status
	if own, is := queryCodes[code]; is {
		code, status = own, http.StatusBadRequest
	}
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(map[string]string{"__type": code, "message": refused.message}) // as above
}

// read takes a request apart. Members that the stand-in does not know are
// mistakes in what is tested, or in the stand-in.
func read[T any](body []byte) (T, error) {
	var request T
	decoder := json.NewDecoder(strings.NewReader(string(body)))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&request); err != nil {
		return request, badRequest("SerializationException", "%s", err)
	}
	return request, nil
}

// Regions is one address for several regions of a service, as a client sees
// them whose endpoint is set by a variable: the request's signature says which
// region it is for.
type Regions map[string]http.Handler

// ServeHTTP implements http.Handler.
func (rs Regions) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	signed, err := parseAuthorization(r.Header.Get("Authorization"))
	region, known := rs[signed.region]
	if err != nil || !known {
		http.Error(w, "no such region", http.StatusNotFound)
		return
	}
	region.ServeHTTP(w, r)
}
