package keyvault

import (
	"encoding/json"
	"net/netip"
	"regexp"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
)

// Answer is what an answer that is no success says, as far as it is kept: codes
// and identifiers that have the form they should have. The rest of it is
// prose, of Key Vault or of something else.
type Answer struct {
	Status      int
	Code, Inner string // "Forbidden", "ForbiddenByRbac"; no code: it is not of Key Vault's form
	Token       string // what is wrong with the token: "AKV10032"
	Caller      string // the object ID of the identity that asked
	Address     string // of this host, as the vault sees it
	RetryAfter  string // seconds
}

// ForeignIssuer as an Answer's Token: it is of another tenant than the vault trusts.
const ForeignIssuer = "AKV10032"

// What is kept of an answer. docs: "Azure Key Vault REST API error codes".
var (
	codeForm    = regexp.MustCompile(`^[A-Za-z0-9]{1,64}$`)
	tokenCode   = regexp.MustCompile(`^AKV[0-9]{1,8}\b`)
	callerID    = regexp.MustCompile(`\boid=([0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12})`)
	addressForm = regexp.MustCompile(`Client address: ([0-9A-Fa-f.:]+)`)
	secondsForm = regexp.MustCompile(`^[0-9]{1,5}$`)
)

// Read reads an error of Microsoft's clients.
func Read(answer *azcore.ResponseError) Answer {
	a := Answer{Status: answer.StatusCode}
	if answer.RawResponse == nil {
		return a
	}
	a.RetryAfter = secondsForm.FindString(answer.RawResponse.Header.Get("Retry-After"))
	content, err := runtime.Payload(answer.RawResponse) // which the client has read already, and keeps
	var document struct {
		Error struct {
			Code, Message string
			InnerError    struct{ Code string }
		}
	}
	if err != nil || json.Unmarshal(content, &document) != nil {
		return a
	}
	a.Code, a.Inner = codeForm.FindString(document.Error.Code), codeForm.FindString(document.Error.InnerError.Code)
	a.Token = tokenCode.FindString(document.Error.Message)
	if found := callerID.FindStringSubmatch(document.Error.Message); found != nil {
		a.Caller = found[1]
	}
	if found := addressForm.FindStringSubmatch(document.Error.Message); found != nil {
		if address, err := netip.ParseAddr(found[1]); err == nil {
			a.Address = address.String()
		}
	}
	return a
}

// Who is the identity that asked, for people.
func (a Answer) Who() string {
	if a.Caller == "" {
		return "this host's managed identity"
	}
	return "this host's managed identity (object ID " + a.Caller + ")"
}
