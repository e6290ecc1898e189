// Command extract writes the schema of what the Terraform modules of this tree
// use to schema/*.json. Run in test/terraform:
//
//	go run ./schema/extract
//
// It takes the packages that are named in it from npm's registry (npm pack,
// which runs none of their scripts), keeps them in the user's cache, and reads
// the JavaScript in them as text: nothing of it is ever run.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/quaymaster/quaymaster/test/terraform/schema"
)

// packages are where each provider's schema is from.
var packages = map[string]string{
	"aws":     "@cdktf/provider-aws@21.22.1",
	"azurerm": "@cdktf/provider-azurerm@14.23.1",
	"google":  "@cdktf/provider-google@16.12.1",
}

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "extract:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	used, err := usedTypes(filepath.Join("schema", "types.txt"), filepath.Join("..", "..", "terraform"), filepath.Join("..", "..", "examples", "terraform"))
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(packages)) {
		found, err := extract(ctx, name, packages[name], used[name])
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err := write(found); err != nil {
			return err
		}
		fmt.Printf("%s %s: %d resources, %d data sources\n", name, found.Version, len(found.Resources), len(found.Data))
	}
	return nil
}

func extract(ctx context.Context, name, from string, wanted map[kindOf]bool) (*schema.Provider, error) {
	archive, integrity, err := pack(ctx, from)
	if err != nil {
		return nil, err
	}
	all := &schema.Provider{Name: name, Package: from, Integrity: integrity, Resources: map[string]schema.Block{}, Data: map[string]schema.Block{}}
	files, version, err := pick(archive, wanted)
	if err != nil {
		return nil, err
	}
	all.Version = version
	for kind, text := range files {
		block, err := readBindings(text)
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", kind.kind, kind.name, err)
		}
		switch kind.kind {
		case "resource":
			all.Resources[kind.name] = block
		case "data":
			all.Data[kind.name] = block
		default:
			all.Config = &block
		}
	}
	return all, nil
}

func write(p *schema.Provider) error {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", " ")
	if err := encoder.Encode(p); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join("schema", p.Name+".json"), text.Bytes(), 0o644)
}
