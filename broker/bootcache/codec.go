package bootcache

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/quaymaster/quaymaster/broker/secret"
)

// The layout, of which every number is big-endian and every text is preceded by
// its length in four bytes:
//
//	"quaymaster held" 0x01
//	number of secrets (4), and for each, ordered by ref:
//	    ref, version, read (8, nanoseconds since 1970)
//	    number of fields (4), and for each, ordered by name: name, value
//
// It has one way of writing a set, so that what is read and written again is
// the same bytes.
const layout = "quaymaster held\x01"

// Encode writes secrets down: their whole refs, versions, fields and times, and
// no lease, because a lease is its agent's own. The same set gives the same
// bytes in whatever order it comes; of two with one ref, that which was read
// last is kept. The result is plaintext, and there is no other copy of it: the
// caller wipes it.
func Encode(held []secret.Held) []byte {
	entries := ordered(held)
	size := len(layout) + 4
	for _, e := range entries {
		size += e.size()
	}
	to := make([]byte, 0, size) // growing would leave plaintext behind
	to = append(to, layout...)
	to = number(to, len(entries))
	for _, e := range entries {
		to = e.append(to)
	}
	return to
}

// entry is a secret with its ref as text.
type entry struct {
	ref string
	secret.Held
}

func ordered(held []secret.Held) []entry {
	entries := make([]entry, 0, len(held))
	for _, h := range held {
		entries = append(entries, entry{h.Secret.Ref.Whole().String(), h})
	}
	slices.SortStableFunc(entries, func(a, b entry) int {
		if by := strings.Compare(a.ref, b.ref); by != 0 {
			return by
		}
		return b.Read.Compare(a.Read)
	})
	return slices.CompactFunc(entries, func(a, b entry) bool { return a.ref == b.ref })
}

func (e entry) size() int {
	size := 4 + len(e.ref) + 4 + len(e.Secret.Version) + 8 + 4
	for name, value := range e.Secret.Fields {
		size += 4 + len(name) + 4 + value.Len()
	}
	return size
}

func (e entry) append(to []byte) []byte {
	to = text(to, e.ref)
	to = text(to, e.Secret.Version)
	to = binary.BigEndian.AppendUint64(to, uint64(e.Read.UnixNano()))
	to = number(to, len(e.Secret.Fields))
	for _, name := range e.Secret.Names() {
		to = text(to, name)
		to = text(to, e.Secret.Fields[name].Reveal()) // into what the caller encrypts or hands on, and wipes
	}
	return to
}

func number(to []byte, n int) []byte { return binary.BigEndian.AppendUint32(to, uint32(n)) }

func text[T string | []byte](to []byte, s T) []byte { return append(number(to, len(s)), s...) }

// Decode reads what Encode wrote, and nothing else: whatever Encode would write
// in another way is an error. The values are copies, so that the caller can
// wipe content. Times are of the wall clock. An error repeats nothing of
// content.
func Decode(content []byte) ([]secret.Held, error) {
	r := &reader{rest: content, size: len(content)}
	held := r.all()
	if r.err == nil && len(r.rest) > 0 {
		r.fail("something follows the last secret")
	}
	if r.err != nil {
		wipe(held)
		return nil, fmt.Errorf("read held secrets: %w", r.err)
	}
	return held, nil
}

// reader takes content apart. After its first error it yields nothing more.
type reader struct {
	rest []byte
	size int // of the whole
	err  error
}

func (r *reader) fail(reason string) {
	if r.err == nil {
		r.err = fmt.Errorf("at byte %d of %d: %s", r.size-len(r.rest), r.size, reason)
		r.rest = nil
	}
}

func (r *reader) all() (held []secret.Held) {
	rest, found := bytes.CutPrefix(r.rest, []byte(layout))
	if !found {
		r.err = errors.New("these are none, or another version of Quaymaster wrote them")
		return nil
	}
	r.rest = rest
	before := ""
	for n := r.number(); n > 0 && r.err == nil; n-- {
		ref := r.text()
		if ref <= before {
			r.fail("a ref is out of order")
		}
		before = ref
		held = append(held, r.held(ref))
	}
	return held
}

func (r *reader) held(name string) secret.Held {
	ref, err := secret.ParseRef(name)
	if r.err == nil && (err != nil || ref.Field != "" || ref.String() != name) {
		r.fail("this is no whole ref") // and perhaps something that must not be repeated
	}
	h := secret.Held{Secret: secret.Secret{Ref: ref, Version: r.text()}, Read: r.time()}
	h.Secret.Fields = r.fields()
	return h
}

func (r *reader) fields() map[string]secret.Value {
	fields, before := map[string]secret.Value{}, ""
	for n := r.number(); n > 0 && r.err == nil; n-- {
		name := r.text()
		if len(fields) > 0 && name <= before {
			r.fail("a field is out of order")
		}
		before = name
		fields[name] = secret.NewValue(bytes.Clone(r.bytes()))
	}
	return fields
}

func (r *reader) time() time.Time {
	if b := r.take(8); b != nil {
		return time.Unix(0, int64(binary.BigEndian.Uint64(b))).UTC()
	}
	return time.Time{}
}

func (r *reader) text() string { return string(r.bytes()) }

func (r *reader) bytes() []byte { return r.take(r.number()) }

func (r *reader) number() int {
	if b := r.take(4); b != nil {
		return int(min(binary.BigEndian.Uint32(b), math.MaxInt32))
	}
	return 0
}

func (r *reader) take(n int) []byte {
	if n > len(r.rest) {
		r.fail("it ends too early")
		return nil
	}
	taken := r.rest[:n:n]
	r.rest = r.rest[n:]
	return taken
}

// wipe overwrites the values of secrets that nobody gets.
func wipe(held []secret.Held) {
	for _, h := range held {
		h.Secret.Wipe()
	}
}
