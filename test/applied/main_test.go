//go:build terraform

// Package applied_test applies the Terraform modules host and vault with the
// real Vault provider to a real Vault, boots hosts from what they wrote, and
// looks that each may do what its grants say and nothing else. Of the clouds
// whose identities the hosts have, there are stand-ins.
package applied_test

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
