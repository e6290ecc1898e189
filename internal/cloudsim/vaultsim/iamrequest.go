package vaultsim

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

const serverIDHeader = "X-Vault-AWS-IAM-Server-ID"

// allowedHeaders are the x-amz-* headers that may be sent to STS: those that a
// signature needs, and none that changes what is asked.
var allowedHeaders = []string{
	"X-Amz-Algorithm", "X-Amz-Content-Sha256", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Security-Token",
	"X-Amz-Signature", "X-Amz-Signedheaders", "X-Amz-User-Agent",
}

// iamRequest is the signed request that a login brings along.
type iamRequest struct {
	url     *url.URL
	body    string
	headers http.Header
}

// newIAMRequest reads the body of a login and refuses a request that is not
// GetCallerIdentity, signed for this server. The order of the checks and their
// words are Vault's.
func newIAMRequest(body map[string]any, serverID string) (iamRequest, error) {
	text := func(field string) string { s, _ := body[field].(string); return s }
	for _, field := range []string{"iam_http_request_method", "iam_request_url", "iam_request_body", "iam_request_headers"} {
		if body[field] == nil {
			return iamRequest{}, errors.New("didn't supply required authentication values")
		}
	}
	if text("iam_http_request_method") != http.MethodPost {
		return iamRequest{}, errors.New("invalid iam_http_request_method; this stand-in takes 'POST' only")
	}
	var request iamRequest
	var err error
	if request.url, err = decodeURL(text("iam_request_url")); err != nil {
		return iamRequest{}, err
	}
	if request.body, err = decodeBody(text("iam_request_body")); err != nil {
		return iamRequest{}, err
	}
	if request.headers, err = decodeHeaders(body["iam_request_headers"]); err != nil {
		return iamRequest{}, err
	}
	if err := request.checkServerID(serverID); err != nil {
		return iamRequest{}, fmt.Errorf("error validating %s header: %w", serverIDHeader, err)
	}
	return request, request.checkHeaders()
}

func decodeURL(encoded string) (*url.URL, error) {
	raw, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return nil, errors.New("failed to base64 decode iam_request_url")
	}
	parsed, err := url.Parse(string(raw))
	if err != nil {
		return nil, errors.New("error parsing iam_request_url")
	}
	if parsed.RawQuery != "" {
		return nil, errors.New("invalid request")
	}
	return parsed, nil
}

func decodeBody(encoded string) (string, error) {
	if encoded == "" {
		return "", errors.New("missing iam_request_body which is required for POST requests")
	}
	raw, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return "", errors.New("failed to base64 decode iam_request_body")
	}
	form, err := url.ParseQuery(string(raw))
	if err != nil {
		return "", err
	}
	for name, values := range form {
		isAction := name == "Action" && slices.Equal(values, []string{"GetCallerIdentity"})
		if !isAction && name != "Version" {
			return "", errors.New("iam request body is invalid")
		}
	}
	return string(raw), nil
}

// decodeHeaders takes an object, its JSON text, or that in base64; a value is
// a string or a list of strings.
func decodeHeaders(raw any) (http.Header, error) {
	object, isObject := raw.(map[string]any)
	if text, isText := raw.(string); isText {
		if decoded, err := base64.StdEncoding.DecodeString(text); err == nil {
			text = string(decoded)
		}
		if err := json.Unmarshal([]byte(text), &object); err != nil {
			return nil, fmt.Errorf("Field validation failed: error converting input for field \"iam_request_headers\": %w", err)
		}
	} else if !isObject {
		return nil, errors.New("missing iam_request_headers")
	}
	headers := http.Header{}
	for name, value := range object {
		values, isList := value.([]any)
		if !isList {
			values = []any{value}
		}
		for _, each := range values {
			headers.Add(name, fmt.Sprint(each))
		}
	}
	return headers, nil
}

// checkServerID: the header says for which server the request was signed, so
// it is worth something only when it is under the signature.
func (r iamRequest) checkServerID(want string) error {
	if want == "" {
		return nil
	}
	got := strings.Join(r.headers.Values(serverIDHeader), ",")
	if got == "" {
		return fmt.Errorf("missing header %q", serverIDHeader)
	}
	if got != want {
		return fmt.Errorf("expected %q but got %q", want, got)
	}
	authorization := strings.Join(r.headers.Values("Authorization"), ",")
	if authorization == "" {
		return errors.New("missing Authorization header")
	}
	_, rest, _ := strings.Cut(authorization, "SignedHeaders=")
	signed, _, _ := strings.Cut(rest, ",")
	if !slices.Contains(strings.Split(signed, ";"), strings.ToLower(serverIDHeader)) {
		return errors.New("vault header wasn't signed")
	}
	return nil
}

func (r iamRequest) checkHeaders() error {
	for name := range r.headers {
		if strings.HasPrefix(name, "X-Amz-") && !slices.Contains(allowedHeaders, name) {
			return errors.New("invalid request header: " + name)
		}
	}
	return nil
}
