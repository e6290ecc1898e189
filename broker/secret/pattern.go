package secret

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
)

// Pattern is a set of refs, as a grant writes it: a ref in which * stands for
// any characters but a slash, and ** for any characters. A literal asterisk is
// written %2A.
//
//	vault:kv/shop/db            this secret, every field, every version
//	vault:kv/shop/db#password   this field only
//	vault:kv/shop/*             every secret directly below kv/shop
//	vault:kv/shop/**            every secret anywhere below kv/shop
//
// A parameter is only matched when the pattern names it.
type Pattern struct {
	text                 string
	provider             string
	path, field, version Glob
	params               map[string][]Glob
}

// ParsePattern reads the text form of a pattern.
func ParsePattern(text string) (Pattern, error) {
	pattern, err := parsePattern(text)
	if err != nil {
		return Pattern{}, fmt.Errorf("pattern %q: %w", text, err)
	}
	return pattern, nil
}

func parsePattern(text string) (Pattern, error) {
	raw, err := split(text)
	if err != nil {
		return Pattern{}, err
	}
	// A pattern is a ref once its wildcards are read as ordinary characters:
	// the same rules hold for its parts.
	if _, err := parseRef(text); err != nil {
		return Pattern{}, err
	}
	pattern := Pattern{text: text, provider: raw.provider, path: encodedGlob(raw.path), field: NewGlob("**"), version: NewGlob("**")}
	if raw.has['#'] {
		pattern.field = encodedGlob(raw.field)
	}
	if raw.has['@'] {
		pattern.version = encodedGlob(raw.version)
	}
	if raw.has['?'] {
		pattern.params = map[string][]Glob{}
		for pair := range strings.SplitSeq(raw.params, "&") {
			name, value, _ := strings.Cut(pair, "=")
			decoded, _ := url.PathUnescape(name) // parseRef has accepted it
			pattern.params[decoded] = append(pattern.params[decoded], encodedGlob(value))
		}
	}
	return pattern, nil
}

// Provider is the name of the provider whose refs the pattern can match.
func (p Pattern) Provider() string { return p.provider }

// Path is how the paths of the refs begin that p can match, decoded, and whether
// that is the whole path: whether there is but one.
func (p Pattern) Path() (beginning string, whole bool) { return p.path[0], len(p.path) == 1 }

// String returns the text that was parsed.
func (p Pattern) String() string { return p.text }

// Match reports whether ref is one of the refs that p stands for.
func (p Pattern) Match(ref Ref) bool {
	if ref.Provider != p.provider || !p.path.Match(ref.Path) || !p.field.Match(ref.Field) || !p.version.Match(ref.Version) {
		return false
	}
	for name, values := range ref.Params {
		for _, value := range values {
			if !slices.ContainsFunc(p.params[name], func(g Glob) bool { return g.Match(value) }) {
				return false
			}
		}
	}
	return true
}

func sortedNames(params url.Values) []string { return slices.Sorted(maps.Keys(params)) }
