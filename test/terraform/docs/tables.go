package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// row is one input or output. Fields are as the file writes them; empty: absent.
type row struct{ name, description, kind, standard string }

// tablesOf makes the tables of a module; it is empty where there is none.
func tablesOf(directory string) (string, error) {
	files, err := filepath.Glob(filepath.Join(directory, "*.tf"))
	if err != nil {
		return "", err
	}
	var inputs, outputs []row
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return "", err
		}
		parsed, problems := hclsyntax.ParseConfig(text, file, hcl.InitialPos)
		if problems.HasErrors() {
			return "", problems
		}
		for _, block := range parsed.Body.(*hclsyntax.Body).Blocks {
			var to *[]row
			switch block.Type {
			case "variable":
				to = &inputs
			case "output":
				to = &outputs
			default:
				continue
			}
			one, err := rowOf(block, text)
			if err != nil {
				return "", fmt.Errorf("%s: %s %s: %w", file, block.Type, block.Labels[0], err)
			}
			*to = append(*to, one)
		}
	}
	if len(files) == 0 {
		return "", nil
	}
	return table("Input", []string{"Type", "Default"}, inputs) + "\n" + table("Output", nil, outputs), nil
}

func rowOf(block *hclsyntax.Block, text []byte) (row, error) {
	source := func(name string) string {
		attribute := block.Body.Attributes[name]
		if attribute == nil {
			return ""
		}
		return oneLine(string(attribute.Expr.Range().SliceBytes(text)))
	}
	one := row{name: block.Labels[0], kind: source("type"), standard: source("default")}
	if description := block.Body.Attributes["description"]; description != nil {
		value, problems := description.Expr.Value(nil)
		if problems.HasErrors() || value.Type() != cty.String {
			return one, fmt.Errorf("its description is not a plain text")
		}
		one.description = value.AsString()
	}
	switch {
	case one.description == "":
		return one, fmt.Errorf("it has no description")
	case block.Type == "variable" && one.kind == "":
		return one, fmt.Errorf("it has no type")
	}
	return one, nil
}

// oneLine writes an expression in one line. The lines of an object need a comma
// between them then.
func oneLine(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		line = strings.Join(strings.Fields(line), " ")
		before := b.String()
		switch {
		case before == "" || line == "":
		case strings.ContainsAny(before[len(before)-1:], "{[(,") || strings.ContainsAny(line[:1], "}])"):
			b.WriteString(" ")
		default:
			b.WriteString(", ")
		}
		b.WriteString(line)
	}
	return b.String()
}

// table is one table, those first that must be given, else by name.
func table(title string, more []string, rows []row) string {
	if len(rows) == 0 {
		return "No " + strings.ToLower(title) + "s.\n"
	}
	slices.SortFunc(rows, func(a, b row) int {
		if needed := strings.Compare(given(a, more), given(b, more)); needed != 0 {
			return needed
		}
		return strings.Compare(a.name, b.name)
	})
	var b strings.Builder
	columns := append([]string{title, "Meaning"}, more...)
	fmt.Fprintf(&b, "| %s |\n|%s\n", strings.Join(columns, " | "), strings.Repeat(" --- |", len(columns)))
	for _, r := range rows {
		cells := []string{code(r.name), strings.ReplaceAll(r.description, "|", `\|`)}
		if more != nil {
			cells = append(cells, code(r.kind), standard(r))
		}
		fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | "))
	}
	return b.String()
}

func given(r row, more []string) string {
	if more != nil && r.standard != "" {
		return "later"
	}
	return "first"
}

func standard(r row) string {
	if r.standard == "" {
		return "**required**"
	}
	return code(r.standard)
}

func code(text string) string { return "`" + strings.ReplaceAll(text, "|", `\|`) + "`" }
