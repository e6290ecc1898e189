package jsonedit

import (
	"cmp"
	"errors"
	"slices"
	"strconv"
	"strings"
)

// Edit is one change of a text: New takes the place of text[Start:End].
type Edit struct {
	Start, End int
	New        string
}

// The decisions that an edit can end with.
var (
	ErrKind    = errors.New("the kind of value does not allow this edit")
	ErrExists  = errors.New("the name is already there")
	ErrMissing = errors.New("the name is not there")
	ErrOverlap = errors.New("two edits change the same place")
)

// Apply makes all edits of text at once and returns the new text; text itself
// stays as it is. Edits must not overlap, and two of them cannot insert at the
// same place. The result is checked as Parse does.
func Apply(text []byte, edits ...Edit) ([]byte, error) {
	sorted := slices.Clone(edits)
	slices.SortStableFunc(sorted, func(a, b Edit) int {
		return cmp.Or(cmp.Compare(a.Start, b.Start), cmp.Compare(a.End, b.End))
	})
	size := len(text)
	end, inserted := 0, -1
	for _, e := range sorted {
		if e.Start < end || e.Start > e.End || e.End > len(text) || e.End == inserted {
			return nil, ErrOverlap
		}
		if end = e.End; e.Start == e.End {
			inserted = e.End
		}
		size += len(e.New)
	}
	out, kept := make([]byte, 0, size), 0
	for _, e := range sorted {
		out = append(append(out, text[kept:e.Start]...), e.New...)
		kept = e.End
	}
	out = append(out, text[kept:]...)
	if _, err := Parse(out); err != nil {
		return nil, err
	}
	return out, nil
}

// Replace puts value, which is JSON text, in the place of the node.
func (n Node) Replace(value string) Edit { return Edit{n.start, n.end, value} }

// Insert adds a member at the end of an object. value is JSON text; it is laid
// out as its surroundings are: on lines of its own with their indentation, or
// on one line. Remove takes exactly these bytes away again.
func (n Node) Insert(name, value string) (Edit, error) {
	if n.Kind() != Object {
		return Edit{}, kindError("insert "+strconv.Quote(name)+" into", n.Kind())
	}
	if _, found := n.member(name); found {
		return Edit{}, namedError(name, ErrExists)
	}
	root, err := Parse([]byte(value))
	if err != nil {
		return Edit{}, namedError(name, err)
	}
	var last member
	for m := range n.members() {
		last = m
	}
	s := n.style(last.name, last.value)
	item := append(AppendQuote(nil, name), s.colon...)
	return n.add(last.value, s, string(s.layout(item, root, 0))), nil
}

// Append adds elements, which are JSON texts, at the end of an array. It lays
// them out as Insert does.
func (n Node) Append(values ...string) (Edit, error) {
	if n.Kind() != Array {
		return Edit{}, kindError("append to", n.Kind())
	}
	var last Node
	for element := range n.Elements() {
		last = element
	}
	s := n.style(last, Node{})
	items := make([]string, 0, len(values))
	for _, value := range values {
		root, err := Parse([]byte(value))
		if err != nil {
			return Edit{}, err
		}
		items = append(items, string(s.layout(nil, root, 0)))
	}
	if len(items) == 0 {
		return Edit{n.end - 1, n.end - 1, ""}, nil
	}
	return n.add(last, s, strings.Join(items, ","+s.lead)), nil
}

// add puts items behind the last item, or into empty brackets. There the
// space that stands between the brackets stays behind the items.
func (n Node) add(last Node, s style, items string) Edit {
	if last.Kind() == Missing {
		return Edit{n.start + 1, n.start + 1, s.first + items}
	}
	return Edit{last.end, last.end, "," + s.lead + items}
}

// Remove takes a member away: with the comma and the space before it or, when
// it is the first of several, with those after it.
func (n Node) Remove(name string) (Edit, error) {
	if n.Kind() != Object {
		return Edit{}, kindError("remove "+strconv.Quote(name)+" from", n.Kind())
	}
	all := slices.Collect(n.members())
	i := slices.IndexFunc(all, func(m member) bool { return unquote(m.name.Raw()) == name })
	switch {
	case i < 0:
		return Edit{}, namedError(name, ErrMissing)
	case i > 0:
		return Edit{all[i-1].value.end, all[i].value.end, ""}, nil
	case len(all) > 1:
		return Edit{all[0].name.start, all[1].name.start, ""}, nil
	}
	return Edit{n.start + 1, all[0].value.end, ""}, nil
}

// editError says what could not be done and wraps the decision.
type editError struct {
	doing string
	err   error
}

func (e *editError) Error() string { return e.doing + ": " + e.err.Error() }
func (e *editError) Unwrap() error { return e.err }

func kindError(doing string, kind Kind) error {
	return &editError{"cannot " + doing + " " + kind.String(), ErrKind}
}

func namedError(name string, err error) error { return &editError{strconv.Quote(name), err} }
