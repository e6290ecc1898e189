package awssim_test

import (
	"encoding/xml"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/quaymaster/quaymaster/internal/cloudsim"
	"github.com/quaymaster/quaymaster/internal/cloudsim/awssim"
)

// TestOfficialSDKEndToEnd goes the whole way that the SDK goes on an instance:
// region and keys from the metadata service, then STS.
func TestOfficialSDKEndToEnd(t *testing.T) {
	service, account, imdsURL := metadata(t, nil)
	stsURL := start(t, awssim.NewSTS(account, "eu-west-1"), cloudsim.Options{})
	for name, value := range map[string]string{
		"AWS_EC2_METADATA_SERVICE_ENDPOINT": imdsURL, "AWS_ENDPOINT_URL_STS": stsURL, "AWS_REGION": "", "AWS_DEFAULT_REGION": "",
		"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_SESSION_TOKEN": "", "AWS_PROFILE": "",
		"AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null", "AWS_EC2_METADATA_DISABLED": "", "AWS_CA_BUNDLE": "",
	} {
		t.Setenv(name, value)
	}
	loaded, err := config.LoadDefaultConfig(t.Context(), config.WithHTTPClient(client()), config.WithEC2IMDSRegion())
	if err != nil {
		t.Fatal(err)
	}
	who, err := sts.NewFromConfig(loaded).GetCallerIdentity(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if *who.Account != accountID || *who.Arn != "arn:aws:sts::"+accountID+":assumed-role/docker-host/"+instanceID ||
		!strings.HasPrefix(*who.UserId, "AROA") || !strings.HasSuffix(*who.UserId, ":"+instanceID) {
		t.Errorf("%s %s %s", *who.Account, *who.Arn, *who.UserId)
	}
	service.Rotate() // keys handed out before stay good
	if _, err := sts.NewFromConfig(loaded).GetCallerIdentity(t.Context(), nil); err != nil {
		t.Error(err)
	}
}

// caller is an STS and the keys of a role's session.
func caller(t *testing.T, c *clock) (url string, account *awssim.Account, keys awssim.Keys) {
	t.Helper()
	account = newAccount(c)
	account.AddRole("/", "docker-host")
	keys, err := account.AssumeRole("docker-host", instanceID, lifetime)
	if err != nil {
		t.Fatal(err)
	}
	return start(t, awssim.NewSTS(account, "us-east-1"), cloudsim.Options{}), account, keys
}

type errorResponse struct {
	XMLName   xml.Name `xml:"https://sts.amazonaws.com/doc/2011-06-15/ ErrorResponse"`
	Code      string   `xml:"Error>Code"`
	Message   string   `xml:"Error>Message"`
	Type      string   `xml:"Error>Type"`
	RequestID string   `xml:"RequestId"`
}

// wantRefusal sends a request that must be refused.
func wantRefusal(t *testing.T, request *http.Request, status int, code, says string) {
	t.Helper()
	got, header, body := do(t, request)
	var answer errorResponse
	if err := xml.Unmarshal([]byte(body), &answer); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	if got != status || answer.Code != code || !strings.Contains(answer.Message, says) || answer.Type != "Sender" {
		t.Errorf("got %d %s, want %d %s that says %q", got, body, status, code, says)
	}
	if header.Get("Content-Type") != "text/xml" || answer.RequestID == "" || header.Get("X-Amzn-Requestid") != answer.RequestID {
		t.Errorf("headers %v of %s", header, body)
	}
}

func TestSignedRequestIsPassedOn(t *testing.T) {
	c := newClock()
	url, _, keys := caller(t, c)
	// Signed for another host, and sent on as Vault does.
	request := signed(t, "https://sts.amazonaws.com/", callerQuery, keys, scope{"sts", "us-east-1", c.now()})
	request.Host = request.URL.Host
	target, err := http.NewRequest(http.MethodPost, url+"//", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.URL = target.URL
	status, header, body := do(t, request)
	if status != 200 || header.Get("Content-Type") != "text/xml" || !strings.HasPrefix(body, "<GetCallerIdentityResponse ") {
		t.Errorf("%d %v %s", status, header, body)
	}
	if !strings.Contains(body, "<ResponseMetadata><RequestId>") {
		t.Error(body)
	}
}

// TestTamperedRequests changes one thing of a signed request each.
func TestTamperedRequests(t *testing.T) {
	c := newClock()
	url, _, keys := caller(t, c)
	right := scope{"sts", "us-east-1", c.now()}
	replaced := func(name, old, by string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, strings.Replace(r.Header.Get(name), old, by, 1)) }
	}
	for name, test := range map[string]struct {
		scope  scope
		change func(*http.Request)
		status int
		code   string
		says   string
	}{
		"another body": {right, func(r *http.Request) {
			*r = *withBody(t, r, strings.Replace(callerQuery, "15", "16", 1))
		}, 403, "SignatureDoesNotMatch", "does not match"},
		"another header":       {right, func(r *http.Request) { r.Header.Set("X-Vault-AWS-IAM-Server-ID", "evil") }, 403, "SignatureDoesNotMatch", "does not match"},
		"a second value":       {right, func(r *http.Request) { r.Header.Add("Content-Type", "text/plain") }, 403, "SignatureDoesNotMatch", "does not match"},
		"a header dropped":     {right, func(r *http.Request) { r.Header.Del("Content-Type") }, 403, "SignatureDoesNotMatch", "does not match"},
		"another host":         {right, func(r *http.Request) { r.Host = "sts.eu-west-1.amazonaws.com" }, 403, "SignatureDoesNotMatch", "does not match"},
		"another path":         {right, func(r *http.Request) { r.URL.Path = "/other" }, 403, "SignatureDoesNotMatch", "does not match"},
		"a query":              {right, func(r *http.Request) { r.URL.RawQuery = "Action=AssumeRole" }, 403, "SignatureDoesNotMatch", "does not match"},
		"another method":       {right, func(r *http.Request) { r.Method = http.MethodPut }, 403, "SignatureDoesNotMatch", "does not match"},
		"another signature":    {right, replaced("Authorization", "Signature=", "Signature=0"), 403, "SignatureDoesNotMatch", "does not match"},
		"another time":         {right, replaced("X-Amz-Date", "T1200", "T1201"), 403, "SignatureDoesNotMatch", "does not match"},
		"another day":          {right, replaced("X-Amz-Date", "20260301", "20260302"), 403, "SignatureDoesNotMatch", "Date in Credential scope"},
		"a header added":       {right, func(r *http.Request) { r.Header.Set("X-Amz-Target", "x") }, 403, "SignatureDoesNotMatch", "'x-amz-target' must be"},
		"host not signed":      {right, replaced("Authorization", "host;", ""), 403, "SignatureDoesNotMatch", "'Host' or ':authority' must be"},
		"date not signed":      {right, replaced("Authorization", "x-amz-date;", ""), 403, "SignatureDoesNotMatch", "'x-amz-date' must be"},
		"token not signed":     {right, replaced("Authorization", "x-amz-security-token;", ""), 403, "SignatureDoesNotMatch", "'x-amz-security-token' must be"},
		"headers out of order": {right, replaced("Authorization", "content-type;host", "host;content-type"), 403, "SignatureDoesNotMatch", "sorted"},
		"another region":       {scope{"sts", "eu-west-1", c.now()}, nil, 403, "SignatureDoesNotMatch", "valid region, not 'eu-west-1'"},
		"another service":      {scope{"iam", "us-east-1", c.now()}, nil, 403, "SignatureDoesNotMatch", "correct service: 'sts'"},
		"another terminator":   {right, replaced("Authorization", "aws4_request", "aws5_request"), 403, "SignatureDoesNotMatch", "terminator"},
		"replayed later":       {scope{"sts", "us-east-1", c.now().Add(-20 * time.Minute)}, nil, 403, "SignatureDoesNotMatch", "Signature expired"},
		"signed ahead of time": {scope{"sts", "us-east-1", c.now().Add(20 * time.Minute)}, nil, 403, "SignatureDoesNotMatch", "not yet current"},
		"unknown key":          {right, replaced("Authorization", "ASIA", "ASIB"), 403, "InvalidClientTokenId", "security token"},
		"another token":        {right, replaced("X-Amz-Security-Token", "==", "=A"), 403, "InvalidClientTokenId", "security token"},
		"unsigned":             {right, func(r *http.Request) { r.Header.Del("Authorization") }, 403, "MissingAuthenticationToken", "Authentication Token"},
		"another algorithm":    {right, replaced("Authorization", "AWS4-HMAC-SHA256", "AWS4-ECDSA"), 400, "IncompleteSignature", "algorithm"},
		"no signature":         {right, replaced("Authorization", "Signature=", "Sign="), 400, "IncompleteSignature", "'Signature'"},
		"two signatures":       {right, replaced("Authorization", "Signature=", "Signature=0, Signature="), 400, "IncompleteSignature", "twice"},
		"a broken scope":       {right, replaced("Authorization", "/sts/", "/"), 400, "IncompleteSignature", "5 slash-delimited"},
		"no date":              {right, func(r *http.Request) { r.Header.Del("X-Amz-Date") }, 400, "IncompleteSignature", "X-Amz-Date"},
		"a broken date":        {right, func(r *http.Request) { r.Header.Set("X-Amz-Date", "yesterday") }, 400, "IncompleteSignature", "ISO-8601"},
	} {
		t.Run(name, func(t *testing.T) {
			request := signed(t, url+"/", callerQuery, keys, test.scope)
			if test.change != nil {
				test.change(request)
			}
			wantRefusal(t, request, test.status, test.code, test.says)
		})
	}
	if status, _, body := do(t, signed(t, url+"/", callerQuery, keys, right)); status != 200 {
		t.Errorf("untouched: %d %s", status, body)
	}
}

func withBody(t *testing.T, r *http.Request, body string) *http.Request {
	t.Helper()
	other, err := http.NewRequestWithContext(t.Context(), r.Method, r.URL.String(), strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	other.Header = r.Header
	return other
}

func TestSkewUpToFifteenMinutes(t *testing.T) {
	c := newClock()
	url, _, keys := caller(t, c)
	for _, at := range []time.Time{c.now().Add(-15 * time.Minute), c.now().Add(15 * time.Minute)} {
		if status, _, body := do(t, signed(t, url, callerQuery, keys, scope{"sts", "us-east-1", at})); status != 200 {
			t.Errorf("%v: %d %s", at, status, body)
		}
	}
}

func TestKeysEnd(t *testing.T) {
	c := newClock()
	url, account, keys := caller(t, c)
	c.move(lifetime)
	now := scope{"sts", "us-east-1", c.now()}
	wantRefusal(t, signed(t, url, callerQuery, keys, now), 403, "ExpiredToken", "expired")
	fresh, err := account.AssumeRole("docker-host", instanceID, lifetime)
	if err != nil {
		t.Fatal(err)
	}
	if status, _, body := do(t, signed(t, url, callerQuery, fresh, now)); status != 200 {
		t.Errorf("%d %s", status, body)
	}
	account.RemoveRole("docker-host")
	wantRefusal(t, signed(t, url, callerQuery, fresh, now), 403, "InvalidClientTokenId", "invalid")
	if _, err := account.AssumeRole("docker-host", instanceID, lifetime); err == nil {
		t.Error("a role that is gone was assumed")
	}
}

// TestMismatchRepeatsTheRequest: the session token is in the answer, as in the
// real one, so that tests of those who pass it on see what they have to hide.
func TestMismatchRepeatsTheRequest(t *testing.T) {
	c := newClock()
	url, _, keys := caller(t, c)
	request := signed(t, url, callerQuery, keys, scope{"sts", "us-east-1", c.now()})
	request.Header.Set("Content-Type", "text/plain")
	wantRefusal(t, request, 403, "SignatureDoesNotMatch", "x-amz-security-token:"+keys.SessionToken)
}

func TestUnknownActions(t *testing.T) {
	c := newClock()
	url, _, keys := caller(t, c)
	for form, code := range map[string]string{
		"Action=AssumeRole&Version=2011-06-15":        "InvalidAction",
		"Action=GetCallerIdentity&Version=2010-05-08": "InvalidAction",
		"": "MissingAction",
	} {
		wantRefusal(t, signed(t, url, form, keys, scope{"sts", "us-east-1", c.now()}), 400, code, "")
	}
	wantRefusal(t, signed(t, url, strings.Repeat("x", 100_000), keys, scope{"sts", "us-east-1", c.now()}), 413, "RequestEntityTooLarge", "")
}

func TestFaultsAndCounts(t *testing.T) {
	c := newClock()
	account := newAccount(c)
	account.AddUser("/ops/", "admin")
	keys, err := account.UserKeys("admin")
	if err != nil {
		t.Fatal(err)
	}
	service := awssim.NewSTS(account, "us-east-1")
	url := start(t, service, cloudsim.Options{})
	service.Set("", cloudsim.Fault{Status: 503, Times: 1})
	for _, want := range []int{503, 200} {
		if status, _, body := do(t, signed(t, url, callerQuery, keys, scope{"sts", "us-east-1", c.now()})); status != want {
			t.Errorf("%d %s", status, body)
		} else if want == 200 && !strings.Contains(body, "<Arn>arn:aws:iam::"+accountID+":user/ops/admin</Arn>") {
			t.Error(body)
		}
	}
	if n := service.Count("GetCallerIdentity", ""); n != 2 {
		t.Errorf("counted %d", n)
	}
}
