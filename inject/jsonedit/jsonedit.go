// Package jsonedit reads and edits JSON text without decoding what it is not
// asked for.
//
// Parse checks the whole text and returns its root Node. A Node is a range of
// that text: Get, Members and Elements walk to the nodes below it. Insert,
// Append, Replace and Remove change nothing; they describe an Edit, and Apply
// makes a new text out of an old one and its edits. Every byte that no edit
// names stays as it is: a field that this program does not know survives, and
// so do order, spacing and the way in which numbers are written.
//
//	root, err := jsonedit.Parse(text)
//	edit, err := root.Insert("debug", "true")
//	text, err = jsonedit.Apply(text, edit)
//
// The package keeps to a few packages of the standard library that need no
// initialisation, because it runs before every start of a container.
package jsonedit

import (
	"errors"
	"iter"
	"strconv"
)

// Kind says what a Node is.
type Kind byte

// The kinds of JSON values.
const (
	Missing Kind = iota // the zero Node
	Object
	Array
	String
	Number
	Bool
	Null
)

var kindNames = [...]string{"nothing", "an object", "an array", "a string", "a number", "a boolean", "null"}

// String names the kind as a message would: "an object".
func (k Kind) String() string { return kindNames[k] }

// Node is one value in a text that Parse accepted. The zero Node stands for a
// value that is not there; reading it finds nothing.
type Node struct {
	text       []byte
	start, end int
}

// Parse checks that text is one JSON value (RFC 8259), in valid UTF-8, with no
// name twice in one object, nested at most MaxDepth deep. The nodes share text,
// which must not change while they are in use. The error is a *SyntaxError.
func Parse(text []byte) (Node, error) {
	c := checker{text: text}
	if err := c.document(); err != nil {
		return Node{}, err
	}
	return rootOf(text), nil
}

// rootOf finds the root of a text that is known to be valid.
func rootOf(text []byte) Node {
	start := skipSpace(text, 0)
	return Node{text, start, skipValue(text, start)}
}

// Kind says what the node is.
func (n Node) Kind() Kind {
	if n.end == 0 {
		return Missing
	}
	switch n.text[n.start] {
	case '{':
		return Object
	case '[':
		return Array
	case '"':
		return String
	case 't', 'f':
		return Bool
	case 'n':
		return Null
	}
	return Number
}

// Range says where the node stands in the text: at text[start:end].
func (n Node) Range() (start, end int) { return n.start, n.end }

// Raw is the node as it is written. It shares the text.
func (n Node) Raw() []byte { return n.text[n.start:n.end:n.end] }

// Text decodes a string. ok is false for any other kind. Half of a surrogate
// pair without the other half becomes U+FFFD, as encoding/json has it.
func (n Node) Text() (text string, ok bool) {
	if n.Kind() != String {
		return "", false
	}
	return unquote(n.Raw()), true
}

// ErrNotUint32 says that a node is no whole number from 0 to 4294967295.
var ErrNotUint32 = errors.New("not a whole number from 0 to 4294967295")

// Uint32 decodes a number that is written without fraction and exponent.
func (n Node) Uint32() (uint32, error) {
	if n.Kind() != Number {
		return 0, ErrNotUint32
	}
	number, err := strconv.ParseUint(string(n.Raw()), 10, 32)
	if err != nil {
		return 0, ErrNotUint32
	}
	return uint32(number), nil
}

// Get walks down a path of object member names. It returns the zero Node when
// a name is not there or when what stands there is no object.
func (n Node) Get(path ...string) Node {
	for _, name := range path {
		m, found := n.member(name)
		if !found {
			return Node{}
		}
		n = m.value
	}
	return n
}

// Members iterates over the members of an object in the order of the text; it
// yields nothing for any other kind.
func (n Node) Members() iter.Seq2[string, Node] {
	return func(yield func(string, Node) bool) {
		for m := range n.members() {
			if !yield(unquote(m.name.Raw()), m.value) {
				return
			}
		}
	}
}

// Elements iterates over the elements of an array; it yields nothing for any
// other kind.
func (n Node) Elements() iter.Seq[Node] {
	return func(yield func(Node) bool) {
		if n.Kind() != Array {
			return
		}
		at := skipSpace(n.text, n.start+1)
		for n.text[at] != ']' {
			element := Node{n.text, at, skipValue(n.text, at)}
			if !yield(element) {
				return
			}
			at = skipComma(n.text, element.end)
		}
	}
}

// member is one name and its value, as they stand in the text.
type member struct{ name, value Node }

func (n Node) members() iter.Seq[member] {
	return func(yield func(member) bool) {
		if n.Kind() != Object {
			return
		}
		at := skipSpace(n.text, n.start+1)
		for n.text[at] != '}' {
			name := Node{n.text, at, skipString(n.text, at)}
			colon := skipSpace(n.text, name.end)
			start := skipSpace(n.text, colon+1)
			value := Node{n.text, start, skipValue(n.text, start)}
			if !yield(member{name, value}) {
				return
			}
			at = skipComma(n.text, value.end)
		}
	}
}

func (n Node) member(name string) (member, bool) {
	for m := range n.members() {
		if unquote(m.name.Raw()) == name {
			return m, true
		}
	}
	return member{}, false
}
