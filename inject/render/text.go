package render

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"
)

// jsonObject is one object with a string for each field, in the order of their
// names. Values are strings whatever they were in the store: once it has been
// read, a number cannot be told from its text.
func jsonObject(f fields) ([]byte, error) {
	var out output
	out.add('{')
	for i, name := range f.names() {
		if !utf8.ValidString(name) || !utf8.Valid(f[name]) {
			out.err = fmt.Errorf("field %q is not text, and JSON can hold nothing else: deliver it in the format raw", name)
			break
		}
		if i > 0 {
			out.add(',')
		}
		quoteJSON(&out, []byte(name))
		out.add(':')
		quoteJSON(&out, f[name])
	}
	out.add('}')
	return out.done()
}

// quoteJSON writes text as a JSON string (RFC 8259, section 7). The standard
// library would do it by way of Go strings, which cannot be wiped.
func quoteJSON(out *output, text []byte) {
	out.add('"')
	for _, c := range text {
		switch {
		case c == '"' || c == '\\':
			out.add('\\', c)
		case c == '\n':
			out.text(`\n`)
		case c < ' ':
			out.text(fmt.Sprintf(`\u%04x`, c))
		default:
			out.add(c)
		}
	}
	out.add('"')
}

// dotenv is a line NAME=value for each field, in the order of their names,
// that a shell can source and that the readers of .env files agree about.
func dotenv(f fields) ([]byte, error) {
	var out output
	for _, name := range f.names() {
		if err := fitsVariable(name, f[name]); err != nil {
			out.err = err
			break
		}
		out.text(name + "=")
		quoteDotenv(&out, f[name])
		out.add('\n')
	}
	return out.done()
}

// fitsVariable reports why a field cannot be a variable in a dotenv file.
func fitsVariable(name string, value []byte) error {
	if !variableName(name) {
		return fmt.Errorf("field %q cannot be the name of a variable in a dotenv file: choose fields, or use json or a template", name)
	}
	if bytes.IndexByte(value, 0) >= 0 {
		return fmt.Errorf("field %q contains a zero byte, which no variable can: deliver it in the format raw", name)
	}
	return nil
}

// quoteDotenv writes value in the plainest of three ways that stands for it:
//
//	plain      where nothing in it means anything to anybody, docker run's
//	           --env-file included, which knows no quoting
//	'quoted'   where it holds neither ' nor \, about which readers differ
//	"quoted"   else, with a backslash before what means something to a shell
//
// A value with both a ' and a ` (or two-character escapes such as \n) is exact
// in a shell only: other readers disagree about those.
func quoteDotenv(out *output, value []byte) {
	switch {
	case len(value) > 0 && !bytes.ContainsFunc(value, func(r rune) bool { return !plainRune(r) }):
		out.add(value...)
	case !bytes.ContainsAny(value, `'\`):
		out.add('\'')
		out.add(value...)
		out.add('\'')
	default:
		out.add('"')
		for _, c := range value {
			if strings.IndexByte("\\\"$`", c) >= 0 {
				out.add('\\')
			}
			out.add(c)
		}
		out.add('"')
	}
}

func plainRune(r rune) bool { return alphanumeric(r) || strings.ContainsRune("_-./:@%+,=", r) }

func alphanumeric(r rune) bool {
	return (r >= '0' && r <= '9') || (r >= 'A' && r <= 'Z') || (r >= 'a' && r <= 'z')
}

// variableName reports whether a shell takes name for that of a variable.
func variableName(name string) bool {
	return name != "" && (name[0] < '0' || name[0] > '9') &&
		!strings.ContainsFunc(name, func(r rune) bool { return r != '_' && !alphanumeric(r) })
}
