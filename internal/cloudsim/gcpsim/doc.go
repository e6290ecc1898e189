// Package gcpsim is Google Cloud, as far as a host needs it to prove who it is:
// a Cloud of projects, service accounts and instances, and what answers for it.
//
//	Metadata   Compute Engine's metadata server for one instance: facts,
//	           attributes, access tokens, identity tokens
//	APIs       the certificates of Google's and of the service accounts' keys,
//	           IAM (accounts, signJwt, generateAccessToken), Compute Engine
//	           (instances and groups): what a host asks to have a claim signed
//	           or to act as another account, and what Vault asks to check what
//	           a host says
//	SecretManager
//	           secrets, global and regional, with versions, states, aliases and
//	           checksums, for those to whom a role on them was granted
//	KMS        symmetric keys that encrypt and decrypt, with additional
//	           authenticated data and checksums, for those who were granted it
//
// Identity tokens are real ones: RS256, with the claims that "Verify the
// identity of VMs" in Compute Engine's documentation lists, signed by a key
// whose certificate the APIs publish. IAM, Compute Engine and Secret Manager take
// only access tokens that the Cloud issued, that have not ended, and that have
// the scope.
//
// Left out: permissions of all but Secret Manager and KMS (whoever has an access token
// may read everything; signing takes AllowSigning, acting as another account
// AllowImpersonation), whatever changes a secret by a request, the token endpoint and service account keys that
// people download (a Vault gets its access tokens from the metadata server of
// its own instance), regional instance groups, resource hierarchies, universes,
// waiting for changes of metadata, attributes of a project,
// service accounts and network interfaces in recursive answers.
package gcpsim
