// Package vaultsim is a stand-in for HashiCorp Vault, for the demo and for
// tests of what clients do when Vault fails. Tests of what Vault itself does
// use the real one.
//
// It speaks Vault's HTTP API well enough for the official client: login by AWS
// identity (auth method aws, type iam), lookup, renewal and revocation of the
// caller's own token, key-value secrets of both versions, what is mounted
// where, and health. Paths, status codes and bodies are those of Vault 1.21,
// and a test compares the two.
//
// A login is checked as Vault checks it: the server ID must be right and under
// the signature, the request must be GetCallerIdentity and nothing else, and
// the stand-in believes only what STS answers when it is sent that request,
// with the client's own Host, headers and body.
//
// A token lives by the clock of its Environment and may do what its policies
// allow. A policy is a list of paths, each for every operation, with Vault's
// wildcards (a trailing * for any rest, + for one segment). Everyone may look
// up, renew and revoke the own token, as Vault's default policy has it.
//
// Left out: storage that survives, namespaces (ignored, as Community does),
// capabilities, response wrapping, leases, child tokens, LIST, PATCH, check-and-set
// beyond the version number, and of the aws method type ec2, GET requests,
// unique IDs, inference and the lookup of full ARNs: a principal that ends in
// * is compared with the canonical ARN, which has no path.
package vaultsim
