// Command vaultd is the Vault server that the tests talk to.
//
// It is HashiCorp's own server with all of its own plugins, not a stand-in:
// what a login, a lease or a seal does in a test is what it does in
// production. It is a module of its own because the server needs hundreds of
// modules that the agent must never depend on, and because its licence does
// not allow us to ship it. Build it with build.sh, which explains the rest.
package main

import (
	"os"

	"github.com/hashicorp/vault/command"
)

func main() { os.Exit(command.Run(os.Args[1:])) }
