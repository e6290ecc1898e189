package vaultlogin

// awsUndecided reads a refusal (400) of Vault's aws method, which says so, too,
// when AWS did not answer it, or asked it to come back later. The words are
// those of the method (builtin/credential/aws in Vault 1.21) and of the codes
// that AWS's APIs have in common.
func awsUndecided(text string) bool {
	return containsAny(text, []string{
		"upstream request: error making request", // STS was not reached
		"received error code 5",
		"RequestError: send request failed", // EC2 or IAM was not reached
		"Throttling", "RequestLimitExceeded", "TooManyRequests",
		"ServiceUnavailable", "InternalError", "InternalFailure", "RequestTimeout",
	})
}

// awsRefuses reads a failure (500) of the aws method, which fails where it
// means to refuse an instance's document, or an instance without what the role
// is bound to.
func awsRefuses(text string) bool {
	return containsAny(text, []string{
		"PKCS#7 signature",
		"failed to verify the signature",
		"could not be found in the signature",
		"SHA256 RSA signature is unsuccessful",
		"certificates to verify the signature are not found",
		"in the instance description is nil",
		"missing tag with key", "role tag is ", "role on the tag", "policies on the role tag",
	})
}

// awsAdvice says what to do about refusals whose own words do not.
var awsAdvice = map[string]string{
	"client nonce mismatch": "; Vault knows this instance by another nonce: the agent has lost its own (a reboot empties the memory " +
		"filesystem), or somebody else on this instance logged in first: if it was not that, delete auth/%s/identity-accesslist/<instance ID>; " +
		"a role with allow_instance_migration=true takes a new nonce once after each stop and start",
	"reauthentication is disabled": "; the role or this instance's first login allowed one login only: unset disallow_reauthentication " +
		"on the role, and delete auth/%s/identity-accesslist/<instance ID>",
	"No certificate for signer":   "; write AWS's RSA-2048 certificate of the instance's region to auth/%s/config/certificate/<name>, type=pkcs7",
	"auth method iam not allowed": "; the role is of type ec2: choose one of type iam in auth/%s, or set aws.login to ec2",
	"auth method ec2 not allowed": "; the role is of type iam: choose one of type ec2 in auth/%s, or set aws.login to iam",
}
