// Package secret holds the nouns that everything else speaks of.
//
// A Ref names one secret wherever it is kept; a Pattern is a set of refs, as a
// grant writes it; a Value carries plaintext and cannot be printed; a Secret
// is what one read of a provider returned: named fields, the version they had,
// and the Lease under which they were given.
//
// The package imports nothing but the standard library and is imported by
// everything, so it does no I/O and keeps no state.
package secret

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Lease says how long a Secret may be used.
type Lease struct {
	ID        string        // as the provider names it; empty when there is nothing to renew or revoke
	IssuedAt  time.Time     // when the provider was asked
	TTL       time.Duration // zero: no end is known
	Renewable bool
	// Token is the accessor of the token that the lease hangs on and ends
	// with; empty when there is none, or nobody can name it.
	Token string
}

// Ends is when the lease ends by its own TTL; zero when no end is known.
func (l Lease) Ends() time.Time {
	if l.TTL <= 0 {
		return time.Time{}
	}
	return l.IssuedAt.Add(l.TTL)
}

// Secret is what one read of a provider returned.
type Secret struct {
	Ref     Ref    // the whole secret: no field selected
	Version string // as the provider names it; empty when it keeps no versions
	Fields  map[string]Value
	Lease   Lease
}

// Names returns the names of the fields, sorted. Names are not secret.
func (s Secret) Names() []string {
	return slices.Sorted(maps.Keys(s.Fields))
}

// Select returns the field that ref asks for: the one it names, or the only
// one there is. The error names the fields to choose from, never a value.
func (s Secret) Select(field string) (Value, error) {
	if field != "" {
		value, found := s.Fields[field]
		if !found {
			return Value{}, fmt.Errorf("there is no field %q; the fields are: %s", field, strings.Join(s.Names(), ", "))
		}
		return value, nil
	}
	if len(s.Fields) != 1 {
		return Value{}, fmt.Errorf("the secret has %d fields; choose one by adding #<field> to the ref: %s",
			len(s.Fields), strings.Join(s.Names(), ", "))
	}
	for _, value := range s.Fields {
		return value, nil
	}
	panic("unreachable: a map of length one has an entry")
}

// Equal reports whether both secrets hold the same fields with the same values.
func (s Secret) Equal(other Secret) bool {
	return maps.EqualFunc(s.Fields, other.Fields, Value.Equal)
}

// Clone returns a secret with values of its own.
func (s Secret) Clone() Secret {
	fields := make(map[string]Value, len(s.Fields))
	for name, value := range s.Fields {
		fields[name] = value.Clone()
	}
	s.Fields = fields
	return s
}

// Wipe overwrites every value.
func (s Secret) Wipe() {
	for _, value := range s.Fields {
		value.Wipe()
	}
}

// Held is a secret as it was last read, which may be handed on: to the next
// agent, or to the next boot. Its Ref is whole, and it has no lease.
type Held struct {
	Secret Secret
	Read   time.Time // when it was last known to be the provider's
}
