package render

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"text/template"
	"text/template/parse"

	"github.com/quaymaster/quaymaster/broker/secret"
)

// program is a template that has been read and found good:
//
//  1. Every use of the function secret has a literal ref, so that what the
//     template reads is known, and decided on, before it runs.
//  2. No template calls itself, not by way of others either.
//  3. At the head of each list of its parts stands a step, which counts what
//     is about to be done. So nothing runs for ever, however the template is
//     built: neither a range over a large number nor definitions that use each
//     other twice, twenty levels deep.
type program struct {
	template *template.Template
	refs     []secret.Ref // sorted, each once
	stamp    stamp
}

// The names of the functions that compile knows of.
const (
	functionSecret = "secret"
	functionStep   = "step"
)

func compile(name, text string) (program, error) {
	parsed, err := template.New(name).Option("missingkey=error").Funcs((&run{}).functions()).Parse(text)
	if err != nil {
		return program{}, errors.New(err.Error()) // the text names template and line
	}
	if parsed.Tree == nil || parse.IsEmptyTree(parsed.Root) && len(parsed.Templates()) < 2 {
		return program{}, fmt.Errorf("template: %s: it is empty", name)
	}
	c := compiler{refs: map[string]secret.Ref{}, calls: map[string][]*parse.TemplateNode{}}
	definitions := parsed.Templates()
	slices.SortFunc(definitions, func(a, b *template.Template) int { return strings.Compare(a.Name(), b.Name()) })
	for _, t := range definitions {
		c.tree = t.Tree
		c.list(t.Root)
	}
	c.refuseCycles(definitions)
	if c.err != nil {
		return program{}, c.err
	}
	p := program{template: parsed}
	for _, ref := range c.refs {
		p.refs = append(p.refs, ref)
	}
	slices.SortFunc(p.refs, func(a, b secret.Ref) int { return strings.Compare(a.String(), b.String()) })
	return p, nil
}

// compiler walks over the trees of a template and keeps the first mistake.
type compiler struct {
	tree  *parse.Tree // the one that is walked over
	refs  map[string]secret.Ref
	calls map[string][]*parse.TemplateNode // by the name of the caller
	err   error
}

// fail reports a mistake at a node, by the line it stands in.
func (c *compiler) fail(at parse.Node, format string, args ...any) {
	if c.err == nil {
		location, _ := c.tree.ErrorContext(at)
		c.err = fmt.Errorf("template: %s: %s", location, fmt.Sprintf(format, args...))
	}
}

// stepWeight is what a list of parts weighs beside its characters, so that the
// steps of many small lists do not take longer than the text of a large one.
const stepWeight = 128

// list walks over a list of parts and puts a step at its head that weighs as
// much as the list has characters, without the lists within, and some more.
func (c *compiler) list(list *parse.ListNode) {
	if list == nil {
		return
	}
	weight := stepWeight
	for _, node := range list.Nodes {
		switch n := node.(type) {
		case *parse.TextNode:
			weight += len(n.Text)
		case *parse.ActionNode:
			weight += c.pipe(n.Pipe)
		case *parse.IfNode:
			weight += c.branch(&n.BranchNode)
		case *parse.WithNode:
			weight += c.branch(&n.BranchNode)
		case *parse.RangeNode:
			weight += c.branch(&n.BranchNode)
		case *parse.TemplateNode:
			weight += c.pipe(n.Pipe)
			c.calls[c.tree.Name] = append(c.calls[c.tree.Name], n)
		}
	}
	list.Nodes = slices.Insert(list.Nodes, 0, c.step(list, weight))
}

func (c *compiler) branch(n *parse.BranchNode) (weight int) {
	c.list(n.List)
	c.list(n.ElseList)
	return c.pipe(n.Pipe)
}

// step is the node of {{step weight line}}.
func (c *compiler) step(at parse.Node, weight int) parse.Node {
	location, _ := c.tree.ErrorContext(at)
	text := fmt.Sprintf("{{%s %d %q}}", functionStep, weight, location)
	trees, err := parse.Parse(functionStep, text, "", "", map[string]any{functionStep: (*run).step})
	if err != nil {
		c.fail(at, "its name cannot be used: %v", err)
		return at
	}
	return trees[functionStep].Root.Nodes[0]
}

// pipe walks over a pipeline and returns how many characters it has.
func (c *compiler) pipe(n *parse.PipeNode) int {
	if n == nil {
		return 0
	}
	for i, command := range n.Cmds {
		c.command(command, i > 0)
	}
	return len(n.String())
}

func (c *compiler) command(n *parse.CommandNode, piped bool) {
	for i, arg := range n.Args {
		switch arg := arg.(type) {
		case *parse.PipeNode:
			c.pipe(arg)
		case *parse.ChainNode:
			if inner, isPipe := arg.Node.(*parse.PipeNode); isPipe {
				c.pipe(inner)
			} else if c.names(arg.Node) {
				c.fail(arg, "%s has no fields: a ref names one", functionSecret)
			}
		case *parse.IdentifierNode:
			if c.names(arg) {
				c.secret(n, i == 0 && !piped)
			}
		}
	}
}

func (c *compiler) names(n parse.Node) bool {
	identifier, is := n.(*parse.IdentifierNode)
	return is && identifier.Ident == functionSecret
}

// secret notes the ref of a command that must be secret "<ref>".
func (c *compiler) secret(n *parse.CommandNode, first bool) {
	if !first || len(n.Args) != 2 {
		c.fail(n, "%s takes one ref in quotes and nothing else, as in {{%s %q}}", functionSecret, functionSecret, "vault:kv/shop/db#password")
		return
	}
	literal, is := n.Args[1].(*parse.StringNode)
	if !is {
		c.fail(n, "the ref of %s must stand there in quotes: what a template reads is decided on before it runs", functionSecret)
		return
	}
	ref, err := secret.ParseRef(literal.Text)
	if err != nil {
		c.fail(n, "%v", err)
		return
	}
	c.refs[ref.String()] = ref
}

// refuseCycles refuses templates that call themselves, or what is not there.
func (c *compiler) refuseCycles(definitions []*template.Template) {
	const open, closed = 1, 2
	state := map[string]int{}
	var visit func(name string)
	visit = func(name string) {
		state[name] = open
		for _, call := range c.calls[name] {
			c.tree = definitions[0].Lookup(name).Tree
			switch {
			case definitions[0].Lookup(call.Name) == nil:
				c.fail(call, "there is no {{define %q}}", call.Name)
			case state[call.Name] == open:
				c.fail(call, "%q calls itself, and would never end", call.Name)
			case state[call.Name] != closed:
				visit(call.Name)
			}
		}
		state[name] = closed
	}
	for _, t := range definitions {
		if state[t.Name()] != closed {
			visit(t.Name())
		}
	}
}
