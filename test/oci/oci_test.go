package oci_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/quaymaster/quaymaster/test/oci"
)

// TestSchema holds the validator to the specification's own examples, good and
// bad: one that accepts everything proves nothing.
func TestSchema(t *testing.T) {
	schema, err := oci.Load()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/opencontainers/runtime-spec").Output()
	if err != nil {
		t.Fatal(err)
	}
	for kind, good := range map[string]bool{"good": true, "bad": false} {
		files, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(dir)), "schema/test/config", kind, "*.json"))
		if err != nil || len(files) == 0 {
			t.Fatalf("no %s examples: %v", kind, err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if err := schema.Config(text); (err == nil) != good {
				t.Errorf("%s: %v", file, err)
			}
		}
	}
	for text, good := range map[string]bool{`{"cwd":"/","env":["A=1"]}`: true, `{"env":["A=1"]}`: false, `{"cwd":"/","env":[1]}`: false} {
		if err := schema.Process([]byte(text)); (err == nil) != good {
			t.Errorf("%s: %v", text, err)
		}
	}
}
