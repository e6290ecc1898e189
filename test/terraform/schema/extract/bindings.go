package main

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/quaymaster/quaymaster/test/terraform/schema"
)

// The bindings are generated code, and very regular. Of a resource Thing they
// have a class, and for each object in it, Part, a function and a class:
//
//	function partToHclTerraform(struct) {       what can be given: name, type, block or
//	    const attrs = { a_name: { … } };        not, and the function of what is in it
//	class PartOutputReference { … }             a resetAName for each that need not be,
//	                                            and a getter for each that can be read
//	class Thing extends … {                     the same two in one
//	    synthesizeHclAttributes() { const attrs = { … } }
type bindings struct {
	functions map[string]string // by the name of their object: partToHclTerraform is part
	classes   map[string]string
}

var (
	functionHead = regexp.MustCompile(`^function (\w+)ToHclTerraform\(struct\) \{$`)
	classHead    = regexp.MustCompile(`^class (\w+) extends cdktf\.(\w+) \{$`)
)

// readBindings reads the file of one resource, data source or provider.
func readBindings(text string) (schema.Block, error) {
	b, main := split(text)
	if main == "" {
		return schema.Block{}, fmt.Errorf("there is no class of it")
	}
	table, err := attributesOf(b.classes[main], 12)
	if err != nil {
		return schema.Block{}, err
	}
	block, err := b.block(table, b.classes[main])
	if strings.HasSuffix(main, "Provider") {
		delete(block.Attributes, "alias") // Terraform's own
	}
	return block, err
}

// split cuts a file into its functions and classes, which begin and end at
// the beginning of a line.
func split(text string) (b bindings, main string) {
	b = bindings{map[string]string{}, map[string]string{}}
	for part := range strings.SplitSeq(text, "\n}\n") {
		for {
			line, rest, more := strings.Cut(part, "\n")
			if head := functionHead.FindStringSubmatch(line); head != nil {
				b.functions[head[1]] = rest
				break
			}
			if head := classHead.FindStringSubmatch(line); head != nil {
				b.classes[head[1]] = "\n" + rest
				if strings.HasPrefix(head[2], "Terraform") {
					main = head[1]
				}
				break
			}
			if !more {
				break
			}
			part = rest
		}
	}
	return b, main
}

// given is one argument, as an attrs table has it.
type given struct {
	name, value, kind, storage string
	property                   string // its name in JavaScript
}

var (
	entryOf  = map[int]*regexp.Regexp{8: entry(8), 12: entry(12)}
	property = regexp.MustCompile(`(?:struct\.|this\._)(\w+)`)
)

func entry(indent int) *regexp.Regexp {
	outer, inner := strings.Repeat(" ", indent), strings.Repeat(" ", indent+4)
	return regexp.MustCompile(`(?m)^` + outer + `(\w+): \{\n` + inner + `value: (.*),\n` + inner + `isBlock: \w+,\n` +
		inner + `type: "(\w+)",\n` + inner + `storageClassType: "(\w+)",\n` + outer + `\},`)
}

// attributesOf reads the attrs table in a function or class.
func attributesOf(text string, indent int) (all []given, err error) {
	_, table, _ := strings.Cut(text, "const attrs = {\n")
	table, _, _ = strings.Cut(table, "\n"+strings.Repeat(" ", indent-4)+"};")
	for _, match := range entryOf[indent].FindAllStringSubmatch(table, -1) {
		one := given{name: match[1], value: match[2], kind: match[3], storage: match[4]}
		if in := property.FindStringSubmatch(one.value); in != nil {
			one.property = in[1]
		}
		all = append(all, one)
	}
	if n := strings.Count(table, "\n"+strings.Repeat(" ", indent+4)+"isBlock: "); n != len(all) {
		return nil, fmt.Errorf("of %d arguments only %d are understood", n, len(all))
	}
	return all, nil
}

// block is what can be given by a table, and what can be read by a class.
func (b bindings) block(table []given, class string) (schema.Block, error) {
	block := schema.Block{Attributes: map[string]schema.Attribute{}, Blocks: map[string]schema.Block{}}
	for _, argument := range table {
		optional := class == "" || strings.Contains(class, "\n    reset"+upper(argument.property)+"() {")
		if err := b.add(&block, argument, optional); err != nil {
			return block, err
		}
	}
	readable, err := b.computed(class)
	for name, attribute := range readable {
		if _, is := block.Blocks[name]; is {
			continue
		}
		if _, is := block.Attributes[name]; !is {
			block.Attributes[name] = attribute
		}
	}
	return block, err
}

var (
	mapped = regexp.MustCompile(`listMapperHcl\((\w+)ToHclTerraform, (true|false)\)`)
	direct = regexp.MustCompile(`^(?:struct\.\w+ === undefined \? null : )?([a-z]\w+)ToHclTerraform\(`)
	simple = map[string]string{
		"simple string": "string", "simple number": "number", "simple boolean": "bool", "simple any": "dynamic", "simple anyMap": "map(dynamic)",
		"map stringMap": "map(string)", "map numberMap": "map(number)", "map booleanMap": "map(bool)",
		"list stringList": "list(string)", "set stringList": "set(string)",
		"list numberList": "list(number)", "set numberList": "set(number)",
	}
)

// add adds an argument to a block: as a block where the bindings treat it as
// one, else as an attribute.
func (b bindings) add(to *schema.Block, g given, optional bool) error {
	if plain := simple[g.kind+" "+g.storage]; plain != "" {
		filled := optional && slices.Contains(schema.FilledIn, g.name)
		to.Attributes[g.name] = schema.Attribute{Type: plain, Required: !optional, Optional: optional, Computed: filled}
		return nil
	}
	part, isBlock, most := "", false, 0
	if match := mapped.FindStringSubmatch(g.value); match != nil {
		part, isBlock = match[1], match[2] == "true"
	} else if match := direct.FindStringSubmatch(g.value); match != nil {
		part, isBlock, most = match[1], g.kind == "list" || g.kind == "set" || g.name == "timeouts", 1
	}
	function, known := b.functions[part]
	if !known {
		return fmt.Errorf("%s: what is a %s %s, and what is %s?", g.name, g.kind, g.storage, g.value)
	}
	table, err := attributesOf(function, 8)
	if err != nil {
		return fmt.Errorf("%s: %w", g.name, err)
	}
	inside, err := b.block(table, b.classes[upper(part)+"OutputReference"])
	if err != nil {
		return fmt.Errorf("%s: %w", g.name, err)
	}
	nesting := strings.Replace(g.kind, "struct", "single", 1)
	if !isBlock {
		to.Attributes[g.name] = schema.Attribute{Required: !optional, Optional: optional, Nesting: nesting, Attributes: inside.Attributes}
		return nil
	}
	inside.Nesting = nesting
	if nesting != "single" {
		inside.Max = most
		if !optional {
			inside.Min = 1
		}
	}
	to.Blocks[g.name] = inside
	return nil
}

var (
	getter  = regexp.MustCompile(`(?m)^        return (.*?)this\.(get|interpolationFor)(\w*)Attribute\('(\w+)'\)`)
	objects = regexp.MustCompile(`(?m)^        this\._\w+ = new ([\w.]+)\(this, "(\w+)"(?:, (true|false))?\);`)
	got     = map[string]string{
		"String": "string", "Number": "number", "Boolean": "bool", "": "dynamic",
		"StringMap": "map(string)", "NumberMap": "map(number)", "BooleanMap": "map(bool)",
		"List": "list(string)", "NumberList": "list(number)",
	}
	gotMap = map[string]string{
		"cdktf.StringMap": "map(string)", "cdktf.BooleanMap": "map(bool)", "cdktf.NumberMap": "map(number)",
		"cdktf.AnyMap": "map(dynamic)", "cdktf.StringMapList": "list(map(string))",
	}
)

// computed is what can be read by a class, as if nothing of it could be given.
func (b bindings) computed(class string) (map[string]schema.Attribute, error) {
	all := map[string]schema.Attribute{}
	for _, match := range getter.FindAllStringSubmatch(class, -1) {
		kind, known := got[match[3]]
		if !known {
			return nil, fmt.Errorf("%s: what is a %sAttribute?", match[4], match[3])
		}
		if strings.Contains(match[1], "Fn.tolist(") {
			kind = strings.Replace(kind, "list", "set", 1)
		}
		all[match[4]] = schema.Attribute{Type: kind, Computed: true}
	}
	for _, match := range objects.FindAllStringSubmatch(class, -1) {
		attribute := schema.Attribute{Computed: true, Type: gotMap[match[1]]}
		if attribute.Type == "" {
			var err error
			if attribute, err = b.computedObjects(match[1], match[3]); err != nil {
				return nil, fmt.Errorf("%s: %w", match[2], err)
			}
		}
		all[match[2]] = attribute
	}
	return all, nil
}

// computedObjects is the attribute that a class of objects stands for. One that
// can be given is described by its table instead, wherever this is asked.
func (b bindings) computedObjects(class, wrapsSet string) (schema.Attribute, error) {
	attribute := schema.Attribute{Computed: true, Nesting: "list"}
	if wrapsSet == "true" {
		attribute.Nesting = "set"
	}
	part, many := strings.CutSuffix(class, "List")
	if !many {
		part, attribute.Nesting = strings.TrimSuffix(class, "OutputReference"), "single"
	}
	text, known := b.classes[part+"OutputReference"]
	if !known {
		return attribute, fmt.Errorf("there is no class of %s", class)
	}
	inside, err := b.computed(text)
	attribute.Attributes = maps.Clone(inside)
	return attribute, err
}

func upper(name string) string { return strings.ToUpper(name[:1]) + name[1:] }
