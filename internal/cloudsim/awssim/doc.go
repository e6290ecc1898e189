// Package awssim is AWS as far as a host needs it to prove who it is: an Account
// of roles, users, instances and the keys issued for them, and services that
// act on it.
//
//	IMDS          EC2's instance metadata service, version 2 (PUT for a session
//	              token, then GET): role credentials, placement, tags, user
//	              data, identity document with the signatures of a Notary, and
//	              what else cloud-init's own data source reads
//	TaskMetadata  what the agent of ECS tells a task's containers: the role's
//	              credentials, and the task
//	STS           GetCallerIdentity
//	KMS           Encrypt and Decrypt by symmetric keys, with their encryption
//	              context, for whom a key's policy or IAM's lets
//	EC2           DescribeInstances, by which Vault sees whether an instance runs
//	IAM           GetRole, GetUser and GetInstanceProfile, which Vault asks when
//	              a role of its own is bound to a unique ID, a path or a profile
//
// STS, EC2 and IAM verify AWS Signature Version 4 themselves, following "Create
// a signed AWS API request" in the IAM User Guide: scope, clock skew of 15
// minutes, signed headers, session token, expiry of the keys, body, signature.
// Only keys that the Account issued or was told are valid. Their errors have
// the codes, status and shape of the real ones, down to a mismatch that
// repeats the whole signed request, session token included: whoever passes
// such an error on must know that.
//
// Left out: permissions (every principal may ask everything), presigned GET
// requests, signatures over several regions, the document's DSA signature,
// IPv6, differences between the metadata's versions, and whatever else an instance could be asked. A hop limit is a fault
// (TooFar), since everything here is one hop away.
package awssim
