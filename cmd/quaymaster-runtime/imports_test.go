package main

import (
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// allowed are the packages of the standard library that this program may
// import, itself or through packages of this module. Each costs next to nothing
// at start. Not among them, and why: net, net/http, os/exec and encoding/json
// double the size and the time to start; fmt, log and regexp pull in reflect
// and tables; text/template and crypto/* initialise state. runtime and
// unsafe are in every program.
const allowed = " bytes cmp errors io iter os path runtime slices strconv strings syscall time unicode/utf16 unicode/utf8 unsafe "

const module = "github.com/quaymaster/quaymaster/"

// TestImports reads the files itself: go list would be answered from the test
// cache after an import changed.
func TestImports(t *testing.T) {
	seen := map[string]bool{}
	checkImports(t, "cmd/quaymaster-runtime", seen)
	for _, want := range []string{"inject/jsonedit", "inject/runtime/spec", "inject/runtime/wire"} {
		if !seen[want] {
			t.Errorf("%s was not looked at", want)
		}
	}
}

func checkImports(t *testing.T, dir string, seen map[string]bool) {
	if seen[dir] {
		return
	}
	seen[dir] = true
	files, err := filepath.Glob(filepath.Join("..", "..", dir, "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no files in %s: %v", dir, err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, spec := range file.Imports {
			path, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			if ours, found := strings.CutPrefix(path, module); found {
				checkImports(t, ours, seen)
			} else if !strings.Contains(allowed, " "+path+" ") {
				t.Errorf("%s imports %s, which is not allowed there", name, path)
			}
		}
	}
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
