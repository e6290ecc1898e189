package config

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// Text is a document that lies in no file of this host. Its origin stands for
// the file's name wherever a problem is told.
type Text struct {
	Origin string
	Data   []byte
}

// Layer is what one source of configuration says, by top-level key.
type Layer map[string]Value

// ReadLayer reads the texts of one source as Load reads files, one after the
// other: they add up in the same way. The error is of type Problems. Whether
// what they say makes sense is for LoadWith to judge, together with the rest.
func ReadLayer(texts ...Text) (Layer, error) {
	l := newLoader("", nil)
	layer := Layer{}
	for _, text := range texts {
		l.files = append(l.files, text.Origin)
		node, problem := parse(text.Origin, bytes.TrimPrefix(text.Data, []byte("\ufeff")))
		if problem != nil {
			l.problems = append(l.problems, *problem)
			continue
		}
		if node == nil {
			continue
		}
		(&reader{loader: l, file: text.Origin}).root(node)
		for name, value := range valueOf(node).fields {
			layer[name] = layer[name].and(value)
		}
	}
	if len(l.problems) > 0 {
		return nil, l.inOrder()
	}
	return layer, nil
}

// Given says where the files of a configuration set each top-level key, the
// file at except left out, and which identity they name. What is wrong with
// them is for Load to say.
func Given(path, except string) (places map[string]Place, identity string) {
	l := newLoader(path, nil)
	l.instead = &Text{Origin: except}
	l.read()
	places = map[string]Place{}
	for key, place := range l.places {
		if !strings.ContainsAny(key, ".[") {
			places[key] = place
		}
	}
	return places, l.config.Identity
}

// LoadWith is Load as if extra were one of the files of conf.d, under the name
// of its origin, whatever lies there now.
func LoadWith(path string, extra Text, checks ...CheckLabels) (Config, []Problem, error) {
	l := newLoader(path, checks)
	l.instead = &extra
	return l.load()
}

// Value is the value of a key as it can be written again: nothing is turned
// into a number and back.
type Value struct {
	scalar string
	items  []Value
	fields map[string]Value
}

func valueOf(node ast.Node) Value {
	switch n := node.(type) {
	case *ast.MappingNode:
		fields := map[string]Value{}
		for _, entry := range n.Values {
			fields[entry.Key.GetToken().Value] = valueOf(entry.Value)
		}
		return Value{fields: fields}
	case *ast.SequenceNode:
		items := []Value{}
		for _, item := range n.Values {
			items = append(items, valueOf(item))
		}
		return Value{items: items}
	case *ast.StringNode:
		return Value{scalar: quoted(n.Value)}
	case *ast.LiteralNode:
		return Value{scalar: quoted(n.Value.Value)}
	}
	return Value{scalar: node.GetToken().Value}
}

// quoted is text as JSON writes it, which YAML reads.
func quoted(text string) string {
	var line strings.Builder
	encoder := json.NewEncoder(&line)
	encoder.SetEscapeHTML(false)
	encoder.Encode(text) // text always has a form, and a Builder takes it
	return strings.TrimSuffix(line.String(), "\n")
}

// and is what a later file makes of a value: lists and mappings add up.
func (v Value) and(later Value) Value {
	switch {
	case v.items != nil && later.items != nil:
		return Value{items: slices.Concat(v.items, later.items)}
	case v.fields != nil && later.fields != nil:
		all := maps.Clone(v.fields)
		for name, value := range later.fields {
			all[name] = all[name].and(value)
		}
		return Value{fields: all}
	}
	return later
}

// String is the value as YAML on one line.
func (v Value) String() string {
	var parts []string
	switch {
	case v.fields != nil:
		for _, name := range slices.Sorted(maps.Keys(v.fields)) {
			parts = append(parts, quoted(name)+": "+v.fields[name].String())
		}
		return "{" + strings.Join(parts, ", ") + "}"
	case v.items != nil:
		for _, item := range v.items {
			parts = append(parts, item.String())
		}
		return "[" + strings.Join(parts, ", ") + "]"
	}
	return v.scalar
}

// Lines is the value as it follows its key and colon: an item of a list has a
// line of its own.
func (v Value) Lines() string {
	if len(v.items) == 0 {
		return " " + v.String()
	}
	var lines strings.Builder
	for _, item := range v.items {
		lines.WriteString("\n  - " + item.String())
	}
	return lines.String()
}
