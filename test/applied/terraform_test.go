//go:build terraform

package applied_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// modules is where the modules are, from here.
const modules = "../../terraform"

// workspace is a directory in which terraform runs, with the mirror of providers
// that test/terraform/build.sh has made and no other.
type workspace struct {
	dir, terraform string
	env            []string
}

// newWorkspace writes main.tf, in which ./modules are the modules, and
// initialises.
func newWorkspace(t *testing.T, main string, env ...string) *workspace {
	t.Helper()
	w := emptyWorkspace(t, env...)
	must(t, os.CopyFS(filepath.Join(w.dir, "modules"), os.DirFS(modules)))
	must(t, os.WriteFile(filepath.Join(w.dir, "main.tf"), []byte(main), 0o600))
	w.must(t, "init")
	return w
}

func emptyWorkspace(t *testing.T, env ...string) *workspace {
	t.Helper()
	w := &workspace{dir: t.TempDir(), terraform: built(t, "terraform")}
	rc := filepath.Join(w.dir, "cli.tfrc")
	must(t, os.WriteFile(rc, fmt.Appendf(nil, "provider_installation {\n  filesystem_mirror {\n    path = %q\n  }\n}\n", built(t, "mirror")), 0o600))
	w.env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + w.dir, "TF_CLI_CONFIG_FILE=" + rc, "TF_IN_AUTOMATION=1", "CHECKPOINT_DISABLE=1"}, env...)
	return w
}

// built is what build.sh has found or built; it builds nothing here.
func built(t *testing.T, what string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "../terraform/build.sh", "--find", what).Output()
	if err != nil {
		t.Fatalf("there is no %s yet: run `make test-terraform`, or test/terraform/build.sh %s", what, what)
	}
	return strings.TrimSpace(string(out))
}

// run runs terraform in a directory below the workspace.
func (w *workspace) run(ctx context.Context, below string, args ...string) (output string, err error) {
	command := exec.CommandContext(ctx, w.terraform, append(args, colourless(args[0])...)...)
	command.Dir, command.Env = filepath.Join(w.dir, below), w.env
	var both bytes.Buffer
	command.Stdout, command.Stderr = &both, &both
	if err := command.Run(); err != nil {
		return both.String(), fmt.Errorf("terraform %s: %w:\n%s", strings.Join(args, " "), err, &both)
	}
	return both.String(), nil
}

// colourless is what makes a command write plain text.
func colourless(command string) []string {
	if command == "fmt" {
		return nil
	}
	return []string{"-no-color"}
}

func (w *workspace) must(t *testing.T, args ...string) string {
	t.Helper()
	output, err := w.run(t.Context(), ".", args...)
	must(t, err)
	return output
}

// output is one output of what was applied.
func (w *workspace) output(t *testing.T, name string) string {
	t.Helper()
	var text string
	must(t, json.Unmarshal([]byte(w.must(t, "output", "-json", name)), &text))
	return text
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
