// Package awssim is one AWS account, as far as a host needs it to prove who it
// is: an Account of roles, users and the keys issued for them, and three
// services that act on it.
//
//	IMDS    EC2's instance metadata service, version 2 (PUT for a session
//	        token, then GET): role credentials, placement, identity document
//	STS     GetCallerIdentity
//	IAM     GetRole and GetUser, which Vault asks when a role of its own is
//	        bound to an AWS principal's unique ID
//
// STS and IAM verify AWS Signature Version 4 themselves, following "Create a
// signed AWS API request" in the IAM User Guide: scope, clock skew of 15
// minutes, signed headers, session token, expiry of the keys, body, signature.
// Only keys that the Account issued or was told are valid. Their errors have
// the codes, status and shape of the real ones, down to a mismatch that
// repeats the whole signed request, session token included: whoever passes
// such an error on must know that.
//
// Left out: permissions (every principal may ask everything), presigned GET
// requests, signatures over several regions, the document's PKCS#7 and RSA
// signatures, IPv6, hop limits, and whatever else the instance could be asked.
package awssim
