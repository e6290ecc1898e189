// Package cloudsim holds local stand-ins for cloud services, for tests and the
// demo only; nothing that ships imports it.
//
// A stand-in is an http.Handler that keeps the far end's state and answers on
// the wire as the real service does, so that the official client libraries
// work against it unchanged. Start puts one behind a loopback address. What a
// stand-in takes from outside (the clock, chance) is its Environment, what can
// go wrong with it is a switch (Faults, and methods of its own), and what it
// was asked is counted (Requests).
//
// The stand-ins are honest about security and lax about everything else: they
// verify signatures, sessions, expiry and who may do what themselves, from the
// specifications, and know only the requests that a host of ours makes. Each
// package says what it leaves out.
//
//	awssim    one AWS account: EC2's instance metadata service, STS, a little IAM
//	azuresim  Azure: metadata services of machines, Entra ID, a little Resource Manager
//	gcpsim    Google Cloud: a metadata server, certificates, a little IAM and Compute Engine
//	vaultsim  a small Vault: login by AWS identity, token life, key-value secrets
package cloudsim
