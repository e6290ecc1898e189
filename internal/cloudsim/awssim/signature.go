package awssim

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"slices"
	"strings"
	"time"
)

const (
	algorithm  = "AWS4-HMAC-SHA256"
	terminator = "aws4_request"
	amzTime    = "20060102T150405Z"
	maxSkew    = 15 * time.Minute // STS's own: "Signature expired: … is now earlier than … (… - 15 min.)"
)

// signature is what an Authorization header says:
//
//	AWS4-HMAC-SHA256 Credential=KEY/DATE/REGION/SERVICE/aws4_request, SignedHeaders=a;b, Signature=HEX
type signature struct {
	keyID, date, region, service string
	signed                       []string // lower case, sorted
	mac                          string
}

func parseAuthorization(header string) (signature, error) {
	if header == "" {
		return signature{}, errUnsigned
	}
	rest, found := strings.CutPrefix(header, algorithm+" ")
	if !found {
		return signature{}, incomplete("Unsupported AWS 'algorithm': %q.", header)
	}
	parts := map[string]string{}
	for part := range strings.SplitSeq(rest, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		if _, twice := parts[name]; twice {
			return signature{}, incomplete("Authorization header has %q twice.", name)
		}
		parts[name] = value
	}
	for _, name := range []string{"Credential", "SignedHeaders", "Signature"} {
		if parts[name] == "" {
			return signature{}, incomplete("Authorization header requires '%s' parameter.", name)
		}
	}
	scope := strings.Split(parts["Credential"], "/")
	if len(scope) != 5 {
		return signature{}, incomplete("Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got '%s'",
			parts["Credential"])
	}
	if scope[4] != terminator {
		return signature{}, mismatch("Credential should be scoped with a valid terminator: '%s', not '%s'.", terminator, scope[4])
	}
	return signature{keyID: scope[0], date: scope[1], region: scope[2], service: scope[3],
		signed: strings.Split(parts["SignedHeaders"], ";"), mac: parts["Signature"]}, nil
}

// verify checks that a request to one service in one region was signed, lately,
// with keys of the account, and says whose they are.
func (a *Account) verify(r *http.Request, body []byte, service, region string) (issued, error) {
	s, err := parseAuthorization(strings.Join(r.Header.Values("Authorization"), ","))
	if err != nil {
		return issued{}, err
	}
	date := r.Header.Get("X-Amz-Date")
	for _, check := range []error{s.checkScope(service, region), s.checkHeaders(r.Header), s.checkDate(date, a.env.Now())} {
		if check != nil {
			return issued{}, check
		}
	}
	keys, err := a.holder(s.keyID, r.Header.Get("X-Amz-Security-Token"))
	if err != nil {
		return issued{}, err
	}
	canonical := canonicalRequest(r, body, s.signed)
	toSign := strings.Join([]string{algorithm, date, s.scope(), hexSHA256([]byte(canonical))}, "\n")
	if !hmac.Equal([]byte(s.expected(keys.SecretAccessKey, toSign)), []byte(s.mac)) {
		return issued{}, mismatch("The request signature we calculated does not match the signature you provided. "+
			"Check your AWS Secret Access Key and signing method. Consult the service documentation for details.\n\n"+
			"The Canonical String for this request should have been\n'%s'\n\nThe String-to-Sign should have been\n'%s'\n", canonical, toSign)
	}
	return keys, nil
}

func (s signature) scope() string {
	return strings.Join([]string{s.date, s.region, s.service, terminator}, "/")
}

func (s signature) checkScope(service, region string) error {
	if s.region != region {
		return mismatch("Credential should be scoped to a valid region, not '%s'.", s.region)
	}
	if s.service != service {
		return mismatch("Credential should be scoped to correct service: '%s'.", service)
	}
	return nil
}

// checkHeaders: a header that steers AWS and is not under the signature could
// have been added by anyone on the way.
func (s signature) checkHeaders(sent http.Header) error {
	if !slices.IsSorted(s.signed) {
		return mismatch("SignedHeaders must be sorted.")
	}
	if !slices.Contains(s.signed, "host") {
		return mismatch("'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.")
	}
	for name := range sent {
		if lower := strings.ToLower(name); strings.HasPrefix(lower, "x-amz-") && !slices.Contains(s.signed, lower) {
			return mismatch("'%s' must be a 'SignedHeader' in the AWS Authorization.", lower)
		}
	}
	return nil
}

func (s signature) checkDate(date string, now time.Time) error {
	if date == "" {
		return incomplete("Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.")
	}
	at, err := time.Parse(amzTime, date)
	if err != nil {
		return incomplete("Date must be in ISO-8601 'basic format'. Got '%s'. See http://en.wikipedia.org/wiki/ISO_8601", date)
	}
	if at.Format("20060102") != s.date {
		return mismatch("Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '%s' != '%s', from '%s'.",
			s.date, at.Format("20060102"), date)
	}
	if earliest := now.Add(-maxSkew); at.Before(earliest) {
		return mismatch("Signature expired: %s is now earlier than %s (%s - 15 min.)", date, earliest.Format(amzTime), now.Format(amzTime))
	}
	if latest := now.Add(maxSkew); at.After(latest) {
		return mismatch("Signature not yet current: %s is still later than %s (%s + 15 min.)", date, latest.Format(amzTime), now.Format(amzTime))
	}
	return nil
}

// expected is the signature that the holder of secret makes.
func (s signature) expected(secret, toSign string) string {
	key := []byte("AWS4" + secret)
	for _, part := range []string{s.date, s.region, s.service, terminator} {
		key = hmacSHA256(key, part)
	}
	return hex.EncodeToString(hmacSHA256(key, toSign))
}

func hmacSHA256(key []byte, message string) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(message))
	return mac.Sum(nil)
}

func hexSHA256(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}
