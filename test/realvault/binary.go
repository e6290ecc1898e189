package realvault

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// ErrNoBinary says that this machine has no Vault server yet.
var ErrNoBinary = errors.New("no Vault server")

// buildScript finds what it has built, relative to the root of the tree.
const buildScript = "test/vaultd/build.sh"

// Binary is the path of a Vault server: $QUAYMASTER_VAULT if it is set, else
// what test/vaultd/build.sh finds, which is `vault` on PATH or an earlier
// build. It builds nothing: where there is none, the error is ErrNoBinary and
// says how to get one. The working directory must be inside the tree.
func Binary(ctx context.Context) (string, error) {
	if path := os.Getenv("QUAYMASTER_VAULT"); path != "" {
		if _, err := exec.LookPath(path); err != nil {
			return "", fmt.Errorf("%w: QUAYMASTER_VAULT: %w", ErrNoBinary, err)
		}
		return path, nil
	}
	script, err := findUp(buildScript)
	if err != nil {
		return "", fmt.Errorf("%w: %w; run inside the source tree or set QUAYMASTER_VAULT", ErrNoBinary, err)
	}
	out, err := exec.CommandContext(ctx, script, "--find").Output()
	if err != nil {
		return "", fmt.Errorf("%w: none in QUAYMASTER_VAULT, on PATH, or built earlier; run `make vault` (%w)", ErrNoBinary, err)
	}
	return strings.TrimSpace(string(out)), nil
}

// findUp finds a file by its path relative to the working directory or to one
// of the directories above it.
func findUp(path string) (string, error) {
	start, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find %s: %w", path, err)
	}
	for dir := start; ; dir = filepath.Dir(dir) {
		candidate := filepath.Join(dir, path)
		if _, err := os.Stat(candidate); err == nil {
			return candidate, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("no %s in %s or above", path, start)
		}
	}
}
