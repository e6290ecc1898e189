package realvault

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestBinaryFromEnvironment(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "vault")
	if err := os.WriteFile(binary, nil, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("QUAYMASTER_VAULT", binary)
	got, err := Binary(t.Context())
	if err != nil || got != binary {
		t.Fatalf("got %q, %v, want %q", got, err, binary)
	}
}

func TestBinaryMissing(t *testing.T) {
	empty := t.TempDir()
	for name, c := range map[string]struct{ env, dir, says string }{
		"environment names nothing": {filepath.Join(empty, "vault"), ".", "QUAYMASTER_VAULT"},
		"nothing built":             {"", ".", "run `make vault`"},
		"outside the tree":          {"", empty, "run inside the source tree"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("QUAYMASTER_VAULT", c.env)
			t.Setenv("QUAYMASTER_CACHE", empty)
			t.Setenv("PATH", "/usr/bin:/bin") // where the script's tools are, and no vault
			t.Chdir(c.dir)
			_, err := Binary(t.Context())
			if !errors.Is(err, ErrNoBinary) || !strings.Contains(err.Error(), c.says) {
				t.Fatalf("got %v, want ErrNoBinary that says %q", err, c.says)
			}
		})
	}
}
