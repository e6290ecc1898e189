package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// module writes a module with a README to the files' directory.
func module(t *testing.T, code, readme string) (path string) {
	t.Helper()
	root := t.TempDir()
	directory := filepath.Join(root, "terraform", "shop")
	if err := os.MkdirAll(directory, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"main.tf": code, "README.md": readme} {
		if err := os.WriteFile(filepath.Join(directory, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

const shop = `
variable "size" {
  description = "How many | how large."
  type = object({
    min = number
    max = optional(number, 2)
  })
  default = {}
}
variable "zone" {
  description = "Where."
  type        = string
}
output "arn" {
  description = "Which."
  value       = var.zone
}
`

const want = `# Shop

<!-- tables -->

| Input | Meaning | Type | Default |
| --- | --- | --- | --- |
| ` + "`zone` | Where. | `string` | **required** |" + `
| ` + "`size` | How many \\| how large. | `object({ min = number, max = optional(number, 2) })` | `{}` |" + `

| Output | Meaning |
| --- | --- |
| ` + "`arn` | Which. |" + `

<!-- /tables -->
The end.
`

func TestTablesAreWrittenAndChecked(t *testing.T) {
	root := module(t, shop, "# Shop\n\n<!-- tables -->\nold\n<!-- /tables -->\nThe end.\n")
	if err := run(root, true); !errors.Is(err, errStale) {
		t.Errorf("an old table: %v", err)
	}
	if err := run(root, false); err != nil {
		t.Fatal(err)
	}
	written, err := os.ReadFile(filepath.Join(root, "terraform", "shop", "README.md"))
	if err != nil || string(written) != want {
		t.Errorf("%v\n%s", err, written)
	}
	if err := run(root, true); err != nil {
		t.Errorf("what was just written: %v", err)
	}
}

func TestWhatCannotBeDocumented(t *testing.T) {
	marked := "<!-- tables -->\n<!-- /tables -->\n"
	for name, c := range map[string]struct{ code, readme, says string }{
		"no description": {"variable \"a\" {\n type = string\n}\n", marked, "variable a: it has no description"},
		"no type":        {"variable \"a\" {\n description = \"x\"\n}\n", marked, "variable a: it has no type"},
		"no marks":       {shop, "# Shop\n", "there are no lines"},
		"not HCL":        {"variable {", marked, "main.tf"},
	} {
		if err := run(module(t, c.code, c.readme), true); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
