package render

import (
	"fmt"
	"regexp"
	"strings"
)

// maxFormat bounds the format of printf, and wideNumber are the widths and
// precisions that are refused in it.
const maxFormat = 4096

var wideNumber = regexp.MustCompile(`[0-9]{4,}`)

// print is fmt's, counted.
func (r *run) print(args ...any) (string, error) {
	if err := r.spend(size(args)); err != nil {
		return "", err
	}
	return fmt.Sprint(args...), nil
}

// println is fmt's, counted.
func (r *run) println(args ...any) (string, error) {
	if err := r.spend(size(args)); err != nil {
		return "", err
	}
	return fmt.Sprintln(args...), nil
}

// printf is fmt's. What it could make at most is counted: each verb may print
// the largest argument in hex, or as wide as three digits say.
func (r *run) printf(format string, args ...any) (string, error) {
	switch { // the format may be a value: no error repeats it
	case len(format) > maxFormat:
		return "", fail("printf: the format has more than %d bytes", maxFormat)
	case strings.Contains(format, "*"):
		return "", fail("printf: write widths out: * is not known here")
	case wideNumber.MatchString(format):
		return "", fail("printf: a number in the format has more than three digits")
	}
	widest := 1000
	for _, arg := range args {
		widest = max(widest, 4*size([]any{arg}))
	}
	if err := r.spend(len(format) + strings.Count(format, "%")*widest); err != nil {
		return "", err
	}
	return fmt.Sprintf(format, args...), nil
}

// escape wraps one of text/template's escapers, which make at most six bytes
// of one.
func (r *run) escape(escaper func(...any) string) func(...any) (string, error) {
	return func(args ...any) (string, error) {
		if err := r.spend(6 * size(args)); err != nil {
			return "", err
		}
		return escaper(args...), nil
	}
}

// size is about how many bytes printing args makes.
func size(args []any) (n int) {
	for _, arg := range args {
		n += 32 // a number, a separator
		switch v := arg.(type) {
		case string:
			n += len(v)
		case map[string]string:
			for name, value := range v {
				n += len(name) + len(value) + 2
			}
		}
	}
	return n
}
