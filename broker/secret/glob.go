package secret

import (
	"net/url"
	"strings"
)

// Glob matches text: its tokens are literals, "*" (any characters but a
// slash) and "**" (any characters). A literal never contains an asterisk
// unless it stands for itself, which is why a Glob is built by a constructor.
type Glob []string

// NewGlob compiles text, in which every asterisk is a wildcard.
func NewGlob(text string) Glob {
	return compile(text, func(literal string) string { return literal })
}

// encodedGlob compiles percent-encoded text, in which %2A is an asterisk that
// stands for itself. The text must be known to decode.
func encodedGlob(text string) Glob {
	return compile(text, func(literal string) string {
		decoded, err := url.PathUnescape(literal)
		if err != nil {
			panic("secret: glob of text that does not decode") // the caller has parsed it
		}
		return decoded
	})
}

// compile keeps literals at even and wildcards at odd indexes.
func compile(text string, decode func(string) string) Glob {
	var glob Glob
	for {
		literal, rest := cutAny(text, "*")
		glob = append(glob, decode(literal))
		if rest == "" {
			return glob
		}
		stars := len(rest) - len(strings.TrimLeft(rest, "*"))
		glob = append(glob, rest[:min(stars, 2)])
		text = rest[stars:]
	}
}

// Match reports whether the whole of text matches.
func (g Glob) Match(text string) bool {
	literal := g[0]
	if !strings.HasPrefix(text, literal) {
		return false
	}
	text = text[len(literal):]
	if len(g) == 1 {
		return text == ""
	}
	wildcard, rest := g[1], g[2:]
	for i := 0; ; i++ {
		if rest.Match(text[i:]) {
			return true
		}
		if i == len(text) || (wildcard == "*" && text[i] == '/') {
			return false
		}
	}
}
