// Package house tests the shape of the source tree itself: which package may
// import which, where SDKs may appear, and that every package teaches its
// model. It reads the files, because a test that asks the go command is served
// from the test cache after the tree has changed.
package house_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/quaymaster/quaymaster"

// layers says how low each package lies: it may import only packages of lower
// layers. A pattern ends in /* for all packages directly below. The picture is
// in docs/design.md, with the reasons.
var layers = map[string]int{
	"broker/secret": 0,

	"auth":                1,
	"auth/vaultclient":    1,
	"auth/awsclient":      1,
	"auth/keyvault":       1,
	"auth/internal/imds":  1,
	"providers":           1,
	"inject":              1,
	"inject/daemonjson":   1,
	"inject/runtime/spec": 1,
	"inject/socket":       0,
	"inject/plugin":       1,
	"broker/workload":     1,
	"broker/lease":        1,
	"broker/audit":        1,
	"broker/config":       1,
	"auth/*":              2,
	"providers/*":         2,
	"inject/*":            2,
	"broker/policy":       2,
	"broker/rotation":     2,
	"broker/memo":         2,
	"broker/firstboot":    2,
	"broker/bootcache":    2,
	"broker":              3,
	"broker/api":          4,
	"cmd/*":               5,
	"packaging/*":         5,

	// Nouns of formats, below everything that has an opinion.
	"auth/endpoint":       0,
	"auth/bounded":        0,
	"inject/jsonedit":     0,
	"inject/runtime/wire": 0,
}

// standardOnly are the packages that import nothing but the standard library
// and this module: they are the nouns of everything, or part of the runtime,
// which must start in a millisecond.
var standardOnly = []string{
	"broker/secret", "broker/lease", "broker/workload", "broker/policy", "inject", "inject/jsonedit",
	"inject/runtime/wire", "inject/runtime/spec", "cmd/quaymaster-runtime", "auth", "auth/endpoint", "auth/bounded", "providers",
	"inject/runtime/wire", "inject/runtime/spec", "inject/socket", "inject/plugin", "inject/volume", "inject/swarm", "cmd/quaymaster-runtime", "auth", "providers",
}

// confined says where a library may be imported, so that replacing it is a
// change in one place.
var confined = map[string][]string{
	"github.com/aws/":                  {"auth/aws", "auth/awsclient", "providers/awssm"},
	"github.com/Azure/":                {"auth/azure", "auth/keyvault", "providers/azurekv"},
	"cloud.google.com/":                {"auth/gcp"},
	"github.com/hashicorp/vault/":      {"auth/vaultclient", "auth/vaultlogin", "providers/vault"},
	"github.com/docker/docker/":        {"inject/docker"},
	"github.com/spf13/":                {"cmd/quaymaster"},
	"github.com/coreos/go-systemd":     {"cmd/quaymaster"},
	"github.com/goccy/go-yaml":         {"broker/config"},
	"software.sslmate.com/":            {"inject/render", "providers/azurekv"},
	"github.com/pavlo-v-chernykh":      {"inject/render"},
	"net/http/httptest":                {},
	"testing":                          {"providers/providertest"}, // which no shipped package imports:
	module + "/providers/providertest": {},
}

// source is one package of the shipped tree.
type source struct {
	path    string // below the module
	doc     []string
	imports map[string]string // import path → file
}

// read parses every shipped package: not tests, not test tools, not stand-ins.
func read(t *testing.T) map[string]*source {
	t.Helper()
	root := filepath.Join("..", "..")
	sources := map[string]*source{}
	err := filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		path := filepath.ToSlash(strings.TrimPrefix(strings.TrimPrefix(name, root), "/"))
		if entry.IsDir() {
			if skipped := []string{".git", "test", "internal", "bin", "out"}; slices.Contains(skipped, path) || entry.Name() == "testdata" {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments|parser.ImportsOnly)
		if err != nil {
			return err
		}
		sources[filepath.ToSlash(filepath.Dir(path))] = add(sources[filepath.ToSlash(filepath.Dir(path))], path, file)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(sources) < 15 {
		t.Fatalf("only %d packages were found below %s: the walk is broken", len(sources), root)
	}
	return sources
}

func add(s *source, path string, file *ast.File) *source {
	if s == nil {
		s = &source{path: filepath.ToSlash(filepath.Dir(path)), imports: map[string]string{}}
	}
	if file.Doc != nil {
		s.doc = append(s.doc, file.Doc.Text())
	}
	for _, spec := range file.Imports {
		imported, _ := strconv.Unquote(spec.Path.Value)
		s.imports[imported] = path
	}
	return s
}

func layerOf(path string) (int, bool) {
	if layer, known := layers[path]; known {
		return layer, true
	}
	layer, known := layers[filepath.ToSlash(filepath.Dir(path))+"/*"]
	return layer, known
}

func TestImportsPointToLowerLayers(t *testing.T) {
	for _, s := range sorted(read(t)) {
		own, known := layerOf(s.path)
		if !known {
			t.Errorf("package %s has no layer: give it one in this test and in docs/design.md", s.path)
			continue
		}
		for imported, file := range s.imports {
			path, ours := strings.CutPrefix(imported, module+"/")
			if !ours {
				continue
			}
			if layer, known := layerOf(path); !known || layer >= own {
				t.Errorf("%s (layer %d) imports %s (layer %d): an import points to a lower layer, never across", file, own, path, layer)
			}
		}
	}
}

func TestLibrariesStayWhereTheyBelong(t *testing.T) {
	for _, s := range sorted(read(t)) {
		for imported, file := range s.imports {
			for library, places := range confined {
				if strings.HasPrefix(imported, library) && !slices.Contains(places, s.path) {
					t.Errorf("%s imports %s, which belongs to %v only", file, imported, places)
				}
			}
			standard := !strings.Contains(strings.SplitN(imported, "/", 2)[0], ".")
			if slices.Contains(standardOnly, s.path) && !standard && !strings.HasPrefix(imported, module) {
				t.Errorf("%s imports %s: this package uses the standard library only", file, imported)
			}
		}
	}
}

func TestEveryPackageTeachesItsModel(t *testing.T) {
	for _, s := range sorted(read(t)) {
		if len(s.doc) != 1 {
			t.Errorf("package %s has %d package comments: it needs exactly one", s.path, len(s.doc))
			continue
		}
		if len(strings.Fields(s.doc[0])) < 20 {
			t.Errorf("package %s: %q does not teach the package's model", s.path, s.doc[0])
		}
	}
}

func TestTopLevelIsFixed(t *testing.T) {
	allowed := []string{".ci", ".git", ".gitignore", "CHANGELOG.md", "LICENSE", "Makefile", "README.md", "SECURITY.md", "auth", "bin",
		"broker", "cmd", "docs", "examples", "go.mod", "go.sum", "inject", "internal", "out", "packaging", "providers",
		"staticcheck.conf", "terraform", "test"}
	entries, err := os.ReadDir(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if !slices.Contains(allowed, entry.Name()) {
			t.Errorf("%s does not belong at the top level", entry.Name())
		}
	}
}

func sorted(sources map[string]*source) (out []*source) {
	for _, path := range slices.Sorted(maps.Keys(sources)) {
		out = append(out, sources[path])
	}
	return out
}
