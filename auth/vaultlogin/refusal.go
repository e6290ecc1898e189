package vaultlogin

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/auth/vaultclient"
)

// refused reports whether a failed login of a method was decided: whether
// repeating it is no use until somebody changes Vault or the cloud.
func refused(method string, failure *vaultclient.Failure) bool {
	failed := failure.Status == http.StatusInternalServerError
	switch method {
	case "azure":
		return failure.Decided() || (failed && azureRefuses(failure.Error()))
	case "aws":
		return (failure.Decided() && !awsUndecided(failure.Error())) || (failed && awsRefuses(failure.Error()))
	}
	return failure.Decided()
}

// remarked are the words of refusals for which the evidence's remark may be the
// reason: STS did not take the signature, or the token's times were not right
// (the gcp and the azure method).
var remarked = []string{"upstream request", "expire", "(not before)", "not yet valid"}

// advise adds what a person needs to act on a refusal.
func (s *Source) advise(evidence auth.Evidence, failure *vaultclient.Failure) string {
	text := failure.Error()
	if evidence.Remark != "" && containsAny(text, remarked) {
		return fmt.Sprintf(" (%s)", evidence.Remark)
	}
	for words, advice := range awsAdvice {
		if evidence.Method == "aws" && strings.Contains(text, words) {
			return fmt.Sprintf(advice, s.mount)
		}
	}
	return ""
}

func containsAny(text string, words []string) bool {
	return slices.ContainsFunc(words, func(w string) bool { return strings.Contains(text, w) })
}

// azureRefuses reads a 500 of Vault's azure method, which answers so whatever
// went wrong: a token that is not good enough and an Azure that does not
// answer alike. The words are those of the method (vault-plugin-auth-azure
// 0.22, path_login.go), of its verifier of tokens (coreos/go-oidc) and of the
// Azure Resource Manager that it asks. Words that are not known here are an
// outage, which is tried again.
func azureRefuses(text string) bool {
	if strings.Contains(text, "fetching keys") { // to verify a signature with: Microsoft did not answer
		return false
	}
	return containsAny(text, []string{
		" not authorized",           // subscription, resource group, location, scale set, service principal, groups
		"does not match",            // a name or identity that is not the token's
		"match expected identities", // object ID, app ID
		"are required",              // subscription_id and resource_group_name
		"must be provided",          // one of vm_name, vmss_name, resource_id
		"requires the vmss_name",    // bound to a scale set
		"isn't in a scale set",      // likewise
		"expected specific bound_",  // a role that anybody would match
		"claims are missing",        // of the token: no managed identity's
		"location is empty",
		"did not return identity information", // the machine has no identity
		"unable to parse the resource ID",
		"token is not yet valid",
		"oidc:", // malformed, expired, other issuer, other audience
		"failed to verify signature",
		"ERROR CODE: ResourceNotFound",      // no machine of that name
		"ERROR CODE: ResourceGroupNotFound", // no such group
		"ERROR CODE: AuthorizationFailed",   // Vault itself may not look at the machine
		"tenant_id is required",             // the method is not configured
		"resource is required",              // likewise
	})
}
