package secret

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"unicode/utf8"
)

// Ref names one secret:
//
//	provider:path[?param=value&…][#field][@version]
//
// All parts are decoded. String encodes them again, so ParseRef(r.String())
// yields r.
type Ref struct {
	Provider string // the name of a configured provider: lower-case letters, digits, dashes
	Path     string
	Params   url.Values // nil when there are none
	Field    string     // empty: the only field
	Version  string     // empty: the current one
}

// ParseRef reads the text form of a ref. The error says what is wrong and at
// which part; it repeats the text, which is a name and not a secret.
func ParseRef(text string) (Ref, error) {
	ref, err := parseRef(text)
	if err != nil {
		return Ref{}, fmt.Errorf("ref %q: %w", text, err)
	}
	return ref, nil
}

func parseRef(text string) (Ref, error) {
	raw, err := split(text)
	if err != nil {
		return Ref{}, err
	}
	ref := Ref{Provider: raw.provider}
	if ref.Path, err = decode("path", raw.path); err != nil {
		return Ref{}, err
	}
	if err := checkPath(ref.Path); err != nil {
		return Ref{}, err
	}
	if raw.has['?'] {
		if ref.Params, err = parseParams(raw.params); err != nil {
			return Ref{}, err
		}
	}
	if ref.Field, err = decode("field", raw.field); err != nil {
		return Ref{}, err
	}
	if ref.Version, err = decode("version", raw.version); err != nil {
		return Ref{}, err
	}
	return ref, nil
}

// parts are the still encoded parts of a ref or a pattern.
type parts struct {
	provider, path, params, field, version string
	has                                    map[byte]bool // which of ? # @ were there
}

// split cuts text at the first '?', '#' and '@' that may stand there. A
// character that the grammar uses is percent-encoded inside a part.
func split(text string) (parts, error) {
	provider, rest, found := strings.Cut(text, ":")
	if !found {
		return parts{}, errors.New("a ref starts with its provider and a colon, as in vault:kv/shop/db#password")
	}
	if !validProvider(provider) {
		return parts{}, fmt.Errorf("provider %q: use lower-case letters, digits and dashes, starting with a letter", provider)
	}
	p := parts{provider: provider, has: map[byte]bool{}}
	p.path, rest = cutAny(rest, "?#@")
	for rest != "" {
		mark := rest[0]
		var part string
		var into *string
		switch mark {
		case '?':
			part, rest = cutAny(rest[1:], "?#@")
			into = &p.params
		case '#':
			part, rest = cutAny(rest[1:], "?#@")
			into = &p.field
		default: // '@'
			part, rest = cutAny(rest[1:], "?#@")
			into = &p.version
		}
		if p.has[mark] || (mark == '?' && (p.has['#'] || p.has['@'])) || (mark == '#' && p.has['@']) {
			return parts{}, fmt.Errorf("%q is out of place: the order is path?params#field@version, and a literal %q is written %%%02X",
				mark, mark, mark)
		}
		if part == "" {
			return parts{}, fmt.Errorf("nothing follows %q", mark)
		}
		p.has[mark] = true
		*into = part
	}
	return p, nil
}

// cutAny splits s before the first character of marks.
func cutAny(s, marks string) (before, after string) {
	if i := strings.IndexAny(s, marks); i >= 0 {
		return s[:i], s[i:]
	}
	return s, ""
}

func validProvider(name string) bool {
	for i, c := range []byte(name) {
		letter := c >= 'a' && c <= 'z'
		if !letter && (i == 0 || (c != '-' && (c < '0' || c > '9'))) {
			return false
		}
	}
	return name != ""
}

func decode(part, text string) (string, error) {
	decoded, err := url.PathUnescape(text)
	if err != nil {
		return "", fmt.Errorf("%s %q: a percent sign is followed by two hex digits; a literal one is written %%25", part, text)
	}
	if !utf8.ValidString(decoded) {
		return "", fmt.Errorf("%s %q: not valid UTF-8", part, text)
	}
	for _, r := range decoded {
		if r < ' ' || r == 0x7f {
			return "", fmt.Errorf("%s %q: contains a control character", part, text)
		}
	}
	return decoded, nil
}

// checkPath refuses the segments that a store's client might resolve to
// another path than the one policy decided on.
func checkPath(path string) error {
	if path == "" {
		return errors.New("the path is empty")
	}
	for segment := range strings.SplitSeq(path, "/") {
		switch segment {
		case "":
			return fmt.Errorf("path %q: starts or ends with a slash, or has an empty segment", path)
		case ".", "..":
			return fmt.Errorf("path %q: %q is not allowed in a path", path, segment)
		}
	}
	return nil
}

// parseParams reads name=value pairs. Unlike url.ParseQuery it takes '+' for a
// plus sign, as the other parts of a ref do.
func parseParams(text string) (url.Values, error) {
	params := url.Values{}
	for pair := range strings.SplitSeq(text, "&") {
		encodedName, encodedValue, found := strings.Cut(pair, "=")
		if !found || encodedName == "" {
			return nil, fmt.Errorf("parameter %q: write name=value", pair)
		}
		name, err := decode("parameter", encodedName)
		if err != nil {
			return nil, err
		}
		value, err := decode("parameter", encodedValue)
		if err != nil {
			return nil, err
		}
		params.Add(name, value)
	}
	return params, nil
}

// String returns the text form that ParseRef reads.
func (r Ref) String() string {
	var b strings.Builder
	b.WriteString(r.Provider + ":" + encode(r.Path, "?#@"))
	separator := "?"
	for _, name := range sortedNames(r.Params) {
		for _, value := range r.Params[name] {
			b.WriteString(separator + encode(name, "?#@&=") + "=" + encode(value, "?#@&"))
			separator = "&"
		}
	}
	if r.Field != "" {
		b.WriteString("#" + encode(r.Field, "?#@"))
	}
	if r.Version != "" {
		b.WriteString("@" + encode(r.Version, "?#@"))
	}
	return b.String()
}

// encode percent-encodes the characters of reserved, the percent sign itself,
// the wildcard of patterns, and whatever is not printable ASCII.
func encode(text, reserved string) string {
	var b strings.Builder
	for _, c := range []byte(text) {
		if c <= ' ' || c >= 0x7f || c == '%' || c == '*' || strings.IndexByte(reserved, c) >= 0 {
			fmt.Fprintf(&b, "%%%02X", c)
			continue
		}
		b.WriteByte(c)
	}
	return b.String()
}

// Whole returns the ref without its field: what one read of the provider
// yields, and so the key under which reads are shared.
func (r Ref) Whole() Ref {
	r.Field = ""
	return r
}
