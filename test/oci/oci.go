// Package oci checks texts against the JSON schema of the OCI Runtime
// Specification, the official one: its files come with the module
// github.com/opencontainers/runtime-spec, so its version in go.mod is the
// version that is meant.
package oci

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	_ "github.com/opencontainers/runtime-spec/specs-go" // keeps the module in go.mod
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// Schema is the specification's.
type Schema struct{ config, process *jsonschema.Schema }

// Load reads the schema from the module cache.
func Load() (*Schema, error) {
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/opencontainers/runtime-spec").Output()
	if err != nil {
		return nil, fmt.Errorf("find the OCI runtime specification: %w", err)
	}
	location := "file://" + filepath.Join(strings.TrimSpace(string(dir)), "schema/config-schema.json")
	compiler := jsonschema.NewCompiler()
	compiler.DefaultDraft(jsonschema.Draft4) // not every file of it says so
	compiler.UseLoader(loader{})
	var s Schema
	if s.config, err = compiler.Compile(location); err != nil {
		return nil, fmt.Errorf("compile the schema of config.json: %w", err)
	}
	if s.process, err = compiler.Compile(location + "#/properties/process"); err != nil {
		return nil, fmt.Errorf("compile the schema of a process: %w", err)
	}
	return &s, nil
}

// loader reads the schema's files. Version 1.3.0 has a reference that lacks a
// slash, which is no JSON pointer, and which validators that are strict refuse.
type loader struct{}

// Load implements jsonschema.URLLoader.
func (loader) Load(url string) (any, error) {
	text, err := os.ReadFile(strings.TrimPrefix(url, "file://"))
	if err != nil {
		return nil, err
	}
	text = bytes.ReplaceAll(text, []byte("#definitions/"), []byte("#/definitions/"))
	return jsonschema.UnmarshalJSON(bytes.NewReader(text))
}

// Config says what is wrong with a bundle's config.json.
func (s *Schema) Config(text []byte) error { return validate(s.config, text) }

// Process says what is wrong with the process JSON of an exec.
func (s *Schema) Process(text []byte) error { return validate(s.process, text) }

func validate(schema *jsonschema.Schema, text []byte) error {
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return err
	}
	return schema.Validate(document)
}
