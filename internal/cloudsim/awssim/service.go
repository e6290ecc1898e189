package awssim

import (
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"net/url"

	"github.com/quaymaster/quaymaster/internal/cloudsim"
)

const maxBody = 64 << 10 // bytes of a request; those we know have 50

// Service is one of AWS's Query APIs: a form that names an Action comes in by
// POST, XML goes out.
type Service struct {
	cloudsim.Faults   // every path is ""
	cloudsim.Requests // the operation is the Action, every path is ""

	account                          *Account
	others                           []*Account // whose callers the service knows, too
	name, region, version, namespace string
	actions                          map[string]action
	words                            words
}

// words is how a service puts answers into XML. Query has one way, and EC2,
// which is older, another.
type words struct {
	result  func(name xml.Name, result any, requestID string) any
	refusal func(namespace, requestID string, refused *refusal) any
}

// action answers one request of a caller whose signature was verified.
type action func(caller issued, form url.Values) (any, error)

// ServeHTTP implements http.Handler.
func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	form, _ := url.ParseQuery(string(body)) // what does not parse names no Action
	s.Record(form.Get("Action"), "")
	if s.Strike(w, r, "") {
		return
	}
	var result any
	if err == nil {
		result, err = s.act(r, body, form)
	}
	requestID := s.account.env.UUID()
	w.Header().Set("X-Amzn-Requestid", requestID)
	w.Header().Set("Date", s.account.env.Now().Format(http.TimeFormat))
	w.Header().Set("Content-Type", "text/xml") // Vault takes exactly this and nothing more
	if err != nil {
		s.refuse(w, requestID, err)
		return
	}
	name := xml.Name{Space: s.namespace, Local: form.Get("Action") + "Response"}
	xml.NewEncoder(w).Encode(s.words.result(name, result, requestID)) // a client that went away needs no answer
}

func (s *Service) act(r *http.Request, body []byte, form url.Values) (any, error) {
	caller, err := s.caller(r, body)
	if err != nil {
		return nil, err
	}
	if r.Method != http.MethodPost || form.Get("Action") == "" {
		return nil, badRequest("MissingAction", "This stand-in takes a form with an Action, by POST.")
	}
	act, known := s.actions[form.Get("Action")]
	if !known || form.Get("Version") != s.version {
		return nil, badRequest("InvalidAction", "Could not find operation %s for version %s", form.Get("Action"), form.Get("Version"))
	}
	return act(caller, form)
}

// caller is whose signature a request carries, in the first account that
// knows its keys.
func (s *Service) caller(r *http.Request, body []byte) (issued, error) {
	caller, err := s.account.verify(r, body, s.name, s.region)
	for _, other := range s.others {
		if err != errInvalidToken {
			break
		}
		caller, err = other.verify(r, body, s.name, s.region)
	}
	return caller, err
}

func (s *Service) refuse(w http.ResponseWriter, requestID string, err error) {
	refused, decided := errors.AsType[*refusal](err)
	if !decided { // the body could not be read
		refused = &refusal{http.StatusRequestEntityTooLarge, "RequestEntityTooLarge", err.Error()}
	}
	w.WriteHeader(refused.status)
	xml.NewEncoder(w).Encode(s.words.refusal(s.namespace, requestID, refused))
}

// query is how all services but EC2 answer.
var query = words{
	result: func(name xml.Name, result any, requestID string) any {
		return response{XMLName: name, Result: result, RequestID: requestID}
	},
	refusal: func(namespace, requestID string, refused *refusal) any {
		return errorResponse{XMLName: xml.Name{Space: namespace, Local: "ErrorResponse"},
			Type: "Sender", Code: refused.code, Message: refused.message, RequestID: requestID}
	},
}

// response is how a Query API answers; the result brings its own name.
type response struct {
	XMLName   xml.Name
	Result    any
	RequestID string `xml:"ResponseMetadata>RequestId"`
}

// errorResponse is how a Query API says no.
type errorResponse struct {
	XMLName   xml.Name
	Type      string `xml:"Error>Type"`
	Code      string `xml:"Error>Code"`
	Message   string `xml:"Error>Message"`
	RequestID string `xml:"RequestId"`
}
