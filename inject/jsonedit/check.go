package jsonedit

import (
	"bytes"
	"strconv"
	"unicode/utf8"
)

// MaxDepth is how deep arrays and objects may be nested in each other. What
// Docker and its runtime write is less than ten deep.
const MaxDepth = 256

// SyntaxError says where a text is not the JSON that Parse accepts.
type SyntaxError struct {
	Line   int // counted from 1
	Column int // in characters, counted from 1
	Reason string
}

// Error implements error.
func (e *SyntaxError) Error() string {
	return "line " + strconv.Itoa(e.Line) + ", column " + strconv.Itoa(e.Column) + ": " + e.Reason
}

// checker reads a text once from beginning to end. After an error its methods
// are not called again.
type checker struct {
	text  []byte
	at    int
	depth int
}

func (c *checker) fail(at int, reason string) error {
	before := c.text[:at]
	line := before[bytes.LastIndexByte(before, '\n')+1:]
	return &SyntaxError{
		Line:   1 + bytes.Count(before, []byte{'\n'}),
		Column: 1 + utf8.RuneCount(line),
		Reason: reason,
	}
}

// unexpected names what stands at the current place instead of what was wanted.
func (c *checker) unexpected(wanted string) error {
	if c.at >= len(c.text) {
		return c.fail(len(c.text), "the text ends where "+wanted+" is expected")
	}
	if c.at == 0 && bytes.HasPrefix(c.text, []byte("\xef\xbb\xbf")) {
		return c.fail(0, "the text begins with a byte order mark, which JSON does not allow: save it as UTF-8 without BOM")
	}
	r, _ := utf8.DecodeRune(c.text[c.at:])
	return c.fail(c.at, "found "+strconv.QuoteRune(r)+" where "+wanted+" is expected")
}

// peek is the next byte, or 0 at the end: no JSON token begins with a zero byte.
func (c *checker) peek() byte {
	if c.at < len(c.text) {
		return c.text[c.at]
	}
	return 0
}

func (c *checker) space() { c.at = skipSpace(c.text, c.at) }

func (c *checker) document() error {
	c.space()
	if err := c.value(); err != nil {
		return err
	}
	c.space()
	if c.at < len(c.text) {
		return c.unexpected("the end of the text")
	}
	return nil
}

func (c *checker) value() error {
	switch b := c.peek(); {
	case b == '{':
		return c.nested(c.object)
	case b == '[':
		return c.nested(c.array)
	case b == '"':
		return c.str()
	case b == '-' || isDigit(b):
		return c.number()
	}
	for _, word := range [...]string{"true", "false", "null"} {
		if bytes.HasPrefix(c.text[c.at:], []byte(word)) {
			c.at += len(word)
			return nil
		}
	}
	return c.unexpected("a value")
}

func (c *checker) nested(body func() error) error {
	c.depth++
	if c.depth > MaxDepth {
		return c.fail(c.at, "nested more than "+strconv.Itoa(MaxDepth)+" deep")
	}
	c.at++
	c.space()
	err := body()
	c.depth--
	return err
}

func (c *checker) object() error {
	var seen names
	for first := true; c.peek() != '}' || !first; first = false {
		start := c.at
		if c.peek() != '"' {
			return c.unexpected("a name in double quotes")
		}
		if err := c.str(); err != nil {
			return err
		}
		if name := unquote(c.text[start:c.at]); !seen.add(name) {
			return c.fail(start, "the name "+strconv.Quote(name)+" stands twice in this object")
		}
		c.space()
		if c.peek() != ':' {
			return c.unexpected("':'")
		}
		c.at++
		c.space()
		if done, err := c.item('}'); done || err != nil {
			return err
		}
	}
	c.at++
	return nil
}

func (c *checker) array() error {
	for first := true; c.peek() != ']' || !first; first = false {
		if done, err := c.item(']'); done || err != nil {
			return err
		}
	}
	c.at++
	return nil
}

// item reads a value and the comma or closing bracket after it.
func (c *checker) item(closing byte) (done bool, err error) {
	if err := c.value(); err != nil {
		return false, err
	}
	c.space()
	switch c.peek() {
	case ',':
		c.at++
		c.space()
		return false, nil
	case closing:
		c.at++
		return true, nil
	}
	return false, c.unexpected("',' or '" + string(rune(closing)) + "'")
}

func (c *checker) number() error {
	if c.peek() == '-' {
		c.at++
	}
	if c.peek() == '0' {
		c.at++
		if isDigit(c.peek()) {
			return c.fail(c.at-1, "a number does not begin with a zero that another digit follows")
		}
	} else if err := c.digits(); err != nil {
		return err
	}
	if c.peek() == '.' {
		c.at++
		if err := c.digits(); err != nil {
			return err
		}
	}
	if c.peek() != 'e' && c.peek() != 'E' {
		return nil
	}
	c.at++
	if c.peek() == '+' || c.peek() == '-' {
		c.at++
	}
	return c.digits()
}

func (c *checker) digits() error {
	if !isDigit(c.peek()) {
		return c.unexpected("a digit")
	}
	for isDigit(c.peek()) {
		c.at++
	}
	return nil
}

// str reads a string: no control character, only the escapes of RFC 8259, and
// valid UTF-8.
func (c *checker) str() error {
	start := c.at
	for c.at++; c.at < len(c.text); {
		switch b := c.text[c.at]; {
		case b == '"':
			c.at++
			return nil
		case b == '\\':
			if err := c.escape(); err != nil {
				return err
			}
		case b < ' ':
			return c.fail(c.at, "a control character in a string is written as an escape, such as \\n or \\u0000")
		case b < utf8.RuneSelf:
			c.at++
		default:
			r, size := utf8.DecodeRune(c.text[c.at:])
			if r == utf8.RuneError && size == 1 {
				return c.fail(c.at, "this string is not valid UTF-8")
			}
			c.at += size
		}
	}
	return c.fail(start, "this string is not closed")
}

func (c *checker) escape() error {
	size := 2
	if c.at+1 < len(c.text) {
		switch c.text[c.at+1] {
		case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
			c.at += size
			return nil
		case 'u':
			size = 6
		}
	}
	if size == 2 || c.at+size > len(c.text) {
		return c.fail(c.at, "no JSON escape begins like this")
	}
	for _, b := range c.text[c.at+2 : c.at+size] {
		if hexDigit(b) < 0 {
			return c.fail(c.at, "four hex digits follow \\u")
		}
	}
	c.at += size
	return nil
}

// names finds the name that stands twice. Most objects have a few members, for
// which looking at each costs less than a map.
type names struct {
	few  []string
	many map[string]bool
}

func (n *names) add(name string) bool {
	if n.many != nil {
		known := n.many[name]
		n.many[name] = true
		return !known
	}
	for _, other := range n.few {
		if other == name {
			return false
		}
	}
	n.few = append(n.few, name)
	if len(n.few) > 16 {
		n.many = make(map[string]bool, 2*len(n.few))
		for _, other := range n.few {
			n.many[other] = true
		}
	}
	return true
}
