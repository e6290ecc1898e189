package config

import (
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// maxDepth bounds how deep lists and mappings may be nested. The parser
// recurses and takes time that grows with the square of the depth.
const maxDepth = 32

// parse returns the document in data: nil when there is nothing but comments.
func parse(file string, data []byte) (node ast.Node, problem *Problem) {
	return parseIf(file, data, plain)
}

// parseIf parses what fit lets pass.
func parseIf(file string, data []byte, fit func(file string, tokens token.Tokens) *Problem) (node ast.Node, problem *Problem) {
	whole := Place{File: file}
	if !utf8.Valid(data) {
		return nil, &Problem{Place: whole, Message: "is not text in UTF-8"}
	}
	// The configuration is read again on every reload: a defect of the parser
	// may refuse a file, but not take the agent down.
	defer func() {
		if recover() != nil {
			node, problem = nil, &Problem{Place: whole, Message: "is not YAML that can be understood"}
		}
	}()
	tokens := lexer.Tokenize(string(data))
	if problem := fit(file, tokens); problem != nil {
		return nil, problem
	}
	document, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey()) // reader tells where both are
	if err != nil {
		return nil, syntaxProblem(file, err)
	}
	if len(document.Docs) == 0 || document.Docs[0].Body == nil {
		return nil, nil
	}
	if len(document.Docs) > 1 {
		return nil, &Problem{Place: whole, Message: "holds more than one YAML document: take out the lines with ---"}
	}
	return document.Docs[0].Body, nil
}

func syntaxProblem(file string, err error) *Problem {
	place, message := Place{File: file}, err.Error()
	if syntax := yaml.Error(nil); errors.As(err, &syntax) {
		message = syntax.GetMessage()
		if syntax.GetToken() != nil {
			place = at(file, syntax.GetToken())
		}
	}
	return &Problem{Place: place, Message: "not YAML: " + message}
}

func at(file string, t *token.Token) Place {
	return Place{File: file, Line: t.Position.Line, Column: t.Position.Column}
}

// plain refuses what lies outside the plain part of YAML, and what shallow
// refuses.
func plain(file string, tokens token.Tokens) *Problem {
	for _, t := range tokens {
		switch t.Type {
		case token.AnchorType, token.AliasType, token.MergeKeyType:
			return &Problem{Place: at(file, t), Message: "anchors, aliases and merge keys are not understood here: write the value out"}
		case token.TagType, token.DirectiveType, token.MappingKeyType:
			return &Problem{Place: at(file, t), Message: "tags, directives and ?-keys are not understood here: write key: value"}
		}
	}
	return shallow(file, tokens)
}

// shallow refuses nesting that the parser could not cope with.
func shallow(file string, tokens token.Tokens) *Problem {
	var line, dashes, brackets int
	for _, t := range tokens {
		switch t.Type {
		case token.SequenceStartType, token.MappingStartType:
			brackets++
		case token.SequenceEndType, token.MappingEndType:
			brackets--
		case token.SequenceEntryType:
			if t.Position.Line != line {
				line, dashes = t.Position.Line, 0
			}
			dashes++
		}
		if max(dashes, brackets) > maxDepth {
			return &Problem{Place: at(file, t), Message: fmt.Sprintf("nested more than %d deep", maxDepth)}
		}
	}
	return nil
}
