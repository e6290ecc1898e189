// Package azuresim stands in for Azure, as far as a host needs it to prove who
// it is, Vault to check that, and Key Vault to hand the host secrets.
//
// A Cloud is what answers at login.microsoftonline.com and management.azure.com,
// or at what a sovereign cloud has instead: Entra ID, which signs tokens with
// one key for all tenants, and Resource Manager, which tells an application of
// a tenant about the machines of that tenant. An IMDS is the instance metadata
// service of one machine; it hands out tokens (v1.0 access tokens, RS256) for
// the identities that the machine has. A Vault is one Key Vault of a tenant,
// which the Cloud serves under the vault's own host; it takes tokens that Entra
// signed for it, hands out secrets, and wraps and unwraps with RSA keys.
//
// Left out: everything that changes something over the wire, access of
// applications by role (an application may read all of its tenant), and the
// metadata service's own cache of tokens.
package azuresim
