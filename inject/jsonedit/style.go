package jsonedit

import (
	"bytes"
	"strings"
)

// style is how the items of one object or array are laid out.
type style struct {
	first string // between the opening bracket and the first item, where there was none
	lead  string // between a comma and the next item
	colon string // the colon and the space around it
	line  string // the line break and indentation of an item; empty: all on one line
	unit  string // by how much one level is indented
}

// style reads the layout of n off its last item: a name and its value, an
// element alone, or nothing when n is empty. What they do not show is read off
// the root.
func (n Node) style(last, value Node) style {
	s := style{colon: ":", unit: "  "}
	root := rootOf(n.text)
	for m := range root.members() {
		s.colon = string(n.text[m.name.end:m.value.start])
		break
	}
	if at := skipSpace(n.text, root.start+1); breaks(n.text[root.start+1 : at]) {
		if _, indent := lastLine(n.text[root.start+1 : at]); indent != "" && at < root.end-1 {
			s.unit = indent
		}
	}
	if value.Kind() != Missing {
		s.colon = string(n.text[last.end:value.start])
	}
	if last.Kind() == Missing {
		return n.emptyStyle(s)
	}
	space := spaceBefore(n.text, last.start)
	s.lead = string(space)
	switch {
	case breaks(space):
		newline, indent := lastLine(space)
		s.line = newline + indent
	case last.start-len(space) == n.start+1: // the space of the first item says nothing about the next
		s.lead = s.gap()
	}
	return s
}

// emptyStyle is for items between brackets with nothing but space between them.
func (n Node) emptyStyle(s style) style {
	s.lead = s.gap()
	if space := n.text[n.start+1 : n.end-1]; breaks(space) {
		newline, indent := lastLine(space)
		s.line = newline + indent + s.unit
		s.first, s.lead = s.line, s.line
	}
	return s
}

// gap is the space after a comma on one line: there is some when there is some
// after a colon.
func (s style) gap() string {
	if strings.HasSuffix(s.colon, " ") {
		return " "
	}
	return ""
}

// layout writes a value, depth levels below the item that it belongs to.
func (s style) layout(dst []byte, n Node, depth int) []byte {
	kind := n.Kind()
	if kind != Object && kind != Array {
		return append(dst, n.Raw()...)
	}
	closing, empty := byte('}'), true
	if kind == Array {
		closing = ']'
	}
	dst = append(dst, n.text[n.start])
	item := func() {
		if !empty {
			dst = append(dst, ',')
		}
		dst = s.next(dst, depth+1, !empty)
		empty = false
	}
	for m := range n.members() {
		item()
		dst = append(append(dst, m.name.Raw()...), s.colon...)
		dst = s.layout(dst, m.value, depth+1)
	}
	for element := range n.Elements() {
		item()
		dst = s.layout(dst, element, depth+1)
	}
	if !empty {
		dst = s.next(dst, depth, false)
	}
	return append(dst, closing)
}

// next begins a new line, or leaves a gap when all is on one line.
func (s style) next(dst []byte, depth int, gap bool) []byte {
	if s.line != "" {
		return append(append(dst, s.line...), strings.Repeat(s.unit, depth)...)
	}
	if gap {
		dst = append(dst, s.gap()...)
	}
	return dst
}

func breaks(space []byte) bool { return bytes.IndexByte(space, '\n') >= 0 }

// lastLine splits off the last line break in space and what indents the line
// behind it.
func lastLine(space []byte) (newline, indent string) {
	i := bytes.LastIndexByte(space, '\n')
	newline, indent = "\n", string(space[i+1:])
	if i > 0 && space[i-1] == '\r' {
		newline = "\r\n"
	}
	return newline, indent
}

// spaceBefore is the space that ends at text[at].
func spaceBefore(text []byte, at int) []byte {
	start := at
	for start > 0 && isSpace(text[start-1]) {
		start--
	}
	return text[start:at]
}
