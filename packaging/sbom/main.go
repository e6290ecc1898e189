// Command sbom writes what a program is made of, as a CycloneDX document: each
// module that the Go linker put into it, with the version and checksum that
// stand in the program itself, so that the list cannot disagree with it. The
// same programs give the same bytes.
//
//	sbom VERSION PROGRAM... > quaymaster.cdx.json
package main

import (
	"cmp"
	"debug/buildinfo"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"slices"
	"strings"
)

// document is as much of CycloneDX 1.5 as there is to say.
type document struct {
	Format      string      `json:"bomFormat"`
	SpecVersion string      `json:"specVersion"`
	Version     int         `json:"version"`
	Metadata    metadata    `json:"metadata"`
	Components  []component `json:"components"`
}

type metadata struct {
	Component component `json:"component"`
}

type component struct {
	Type    string `json:"type"`
	Ref     string `json:"bom-ref"`
	Name    string `json:"name"`
	Version string `json:"version"`
	URL     string `json:"purl,omitempty"`
	Hashes  []hash `json:"hashes,omitempty"`
}

type hash struct {
	Algorithm string `json:"alg"`
	Content   string `json:"content"`
}

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: sbom VERSION PROGRAM...")
		os.Exit(2)
	}
	if err := write(os.Stdout, os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintf(os.Stderr, "sbom: %v\n", err)
		os.Exit(1)
	}
}

func write(w io.Writer, version string, programs []string) error {
	d := document{Format: "CycloneDX", SpecVersion: "1.5", Version: 1}
	d.Metadata.Component = component{Type: "application", Ref: "quaymaster", Name: "quaymaster", Version: version}
	for _, program := range programs {
		info, err := buildinfo.ReadFile(program)
		if err != nil {
			return fmt.Errorf("read what %s is made of: %w", program, err)
		}
		d.Components = append(d.Components, library("std", strings.TrimPrefix(info.GoVersion, "go"), ""))
		for _, module := range info.Deps {
			d.Components = append(d.Components, of(module))
		}
	}
	slices.SortFunc(d.Components, func(a, b component) int { return cmp.Compare(a.Ref, b.Ref) })
	d.Components = slices.CompactFunc(d.Components, func(a, b component) bool { return a.Ref == b.Ref })
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(d)
}

// of is what was really linked: a module that replaces another is that one.
func of(module *debug.Module) component {
	if module.Replace != nil {
		module = module.Replace
	}
	return library(module.Path, module.Version, module.Sum)
}

// library has the checksum as go.sum has it: SHA-256 over the module's files.
func library(path, version, sum string) component {
	url := "pkg:golang/" + path + "@" + strings.ReplaceAll(version, "+", "%2B")
	c := component{Type: "library", Ref: url, Name: path, Version: version, URL: url}
	if digest, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(sum, "h1:")); err == nil && len(digest) == 32 {
		c.Hashes = []hash{{Algorithm: "SHA-256", Content: hex.EncodeToString(digest)}}
	}
	return c
}
