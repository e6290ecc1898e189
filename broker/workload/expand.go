package workload

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// expand replaces each {{selector}} in the text of a ref by the attested fact:
//
//	vault:pki/issue/timeline?common_name={{compose.service}}.prod.internal
//
// A value is percent-encoded and may hold no slash where it stands in the
// path, so it fills the place that it was given and cannot make the ref one of
// another shape.
//
// The selectors are those that grants are written in, by the same rule: a
// label of the image is never taken for the container's own, and is meant only
// when image.label. is written. Unlike in a grant it may stand alone, because a
// ref is a wish: an image that brings quaymaster labels can name any ref
// anyway, and the grant decides. The user is not among them, because it is
// known only while a gate waits; the ref of a container that an agent meets
// while it runs must be the same.
func (s Selectors) expand(text string) (string, error) {
	return expand(text, s.fact)
}

// expandAny puts something in the place of each attested fact, for a text that
// is not yet about any container.
func expandAny(text string) (string, error) {
	return expand(text, func(key string) (string, error) {
		if !nameable(key) {
			return "", fmt.Errorf("there is no selector %q; the selectors are %s, %s<key> and %s<key>", key,
				strings.Join(single, ", "), LabelPrefix, ImageLabelPrefix)
		}
		return "x", nil
	})
}

// expand replaces each {{selector}} by what fact says of it.
func expand(text string, fact func(key string) (string, error)) (string, error) {
	var out strings.Builder
	for rest := text; ; {
		before, after, found := strings.Cut(rest, "{{")
		out.WriteString(before)
		if !found {
			return out.String(), nil
		}
		key, behind, closed := strings.Cut(after, "}}")
		if !closed {
			return "", fmt.Errorf("ref %q: {{ is not closed by }}; a literal brace is written %%7B", text)
		}
		value, err := fill(strings.TrimSpace(key), out.String(), fact)
		if err != nil {
			return "", fmt.Errorf("ref %q: %w", text, err)
		}
		out.WriteString(value)
		rest = behind
	}
}

// fill returns what stands for the selector after before, the text so far.
func fill(key, before string, fact func(key string) (string, error)) (string, error) {
	switch {
	case !strings.Contains(before, ":"):
		return "", fmt.Errorf("{{%s}} stands where the provider is named: write that out", key)
	case key == SelectorUser:
		return "", fmt.Errorf("{{%s}} cannot stand in a ref: the user is not known of a container that runs already", key)
	}
	value, err := fact(key)
	if err != nil {
		return "", err
	}
	if !strings.ContainsAny(before, "?#@") && strings.Contains(value, "/") {
		return "", fmt.Errorf("{{%s}} is %q here: a slash in it would name another path", key, value)
	}
	return encodeAll(value), nil
}

// fact returns what was attested of the container.
func (s Selectors) fact(key string) (string, error) {
	if s[key] == "" {
		return "", fmt.Errorf("this container has no selector %q; it has: %s", key, strings.Join(s.usable(), ", "))
	}
	return s[key], nil
}

// usable returns the selectors that a ref can name, without the labels that
// tools add by the dozen.
func (s Selectors) usable() []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(s)), func(key string) bool {
		return key == SelectorUser || s[key] == "" ||
			strings.HasPrefix(key, LabelPrefix+"com.docker.") || strings.HasPrefix(key, LabelPrefix+Prefix)
	})
}

// encodeAll percent-encodes every byte that means nothing in any grammar.
func encodeAll(value string) string {
	var b strings.Builder
	for _, c := range []byte(value) {
		if strings.IndexByte("-_.~", c) >= 0 || (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') {
			b.WriteByte(c)
			continue
		}
		fmt.Fprintf(&b, "%%%02X", c)
	}
	return b.String()
}
