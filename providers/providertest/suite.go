package providertest

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/providers"
)

// suite is one subtest in its world.
type suite struct {
	*World
	t *testing.T
}

// sample is what a secret of this store may look like; all its values end in
// text.
func (s *suite) sample(text string) map[string][]byte {
	if s.Single {
		return map[string][]byte{"value": value(text)}
	}
	return map[string][]byte{"user": value("user of " + text), "password": value(text)}
}

func value(text string) []byte { return []byte(Marker + "-" + text) }

// put stores a secret and returns its ref.
func (s *suite) put(name string, fields map[string][]byte) secret.Ref {
	s.t.Helper()
	given := make(map[string][]byte, len(fields))
	for field, content := range fields {
		given[field] = bytes.Clone(content) // the far end may keep it
	}
	return s.Put(s.t, name, given)
}

// reads fetches ref, which must be what was stored.
func (s *suite) reads(ref secret.Ref, want map[string][]byte) secret.Secret {
	s.t.Helper()
	found, err := s.Provider.Fetch(s.t.Context(), ref)
	if err != nil {
		s.t.Fatalf("%s: %v", ref, err)
	}
	s.is(found, ref, want)
	return found
}

// is checks all of a secret that every provider says.
func (s *suite) is(found secret.Secret, ref secret.Ref, want map[string][]byte) {
	s.t.Helper()
	if got := found.Ref.String(); got != ref.Whole().String() {
		s.t.Errorf("%s: the secret says that it is %s", ref, got)
	}
	if found.Lease.IssuedAt.IsZero() {
		s.t.Errorf("%s: the lease does not say when it was asked for", ref)
	}
	if got, all := found.Names(), slices.Sorted(maps.Keys(want)); !slices.Equal(got, all) {
		s.t.Errorf("%s: its fields are %q, want %q", ref, got, all)
	}
	for name, content := range want {
		if got := found.Fields[name]; !bytes.Equal(got.Reveal(), content) { // to compare with what was stored
			s.t.Errorf("%s: field %q is not what was stored: %d bytes, want %d", ref, name, got.Len(), len(content))
		}
	}
	if s.Versions && found.Version == "" {
		s.t.Errorf("%s: it says no version", ref)
	}
	for _, verb := range []string{"%v", "%+v", "%#v"} {
		s.tight(fmt.Sprintf(verb, found))
	}
}

// fails fetches ref, which must fail in one of some ways and leave no value.
func (s *suite) fails(ref secret.Ref, kinds ...error) error {
	s.t.Helper()
	found, err := s.Provider.Fetch(s.t.Context(), ref)
	s.failed(found, err, ref, kinds...)
	return err
}

// failed checks all that the contract says of an error.
func (s *suite) failed(found secret.Secret, err error, ref secret.Ref, kinds ...error) {
	s.t.Helper()
	if err == nil {
		s.t.Errorf("%s: no error, want %v", ref, kinds)
		return
	}
	if !slices.ContainsFunc(kinds, func(kind error) bool { return errors.Is(err, kind) }) {
		s.t.Errorf("%s: %v is none of %v", ref, err, kinds)
	}
	var wrapped []error
	for _, kind := range []error{providers.ErrInvalid, providers.ErrNotFound, providers.ErrDenied, providers.ErrUnavailable} {
		if errors.Is(err, kind) {
			wrapped = append(wrapped, kind)
		}
	}
	if len(wrapped) != 1 {
		s.t.Errorf("%s: %v wraps %d of the errors of providers, not one: %v", ref, err, len(wrapped), wrapped)
	}
	if name := ref.Path[strings.LastIndex(ref.Path, "/")+1:]; !strings.Contains(err.Error(), name) {
		s.t.Errorf("%s: the error does not name %s: %v", ref, name, err)
	}
	if strings.ContainsAny(err.Error(), "\n\r") {
		s.t.Errorf("%s: the error is longer than a line: %v", ref, err)
	}
	if len(found.Fields) != 0 {
		s.t.Errorf("%s: fields %q beside the error %v", ref, found.Names(), err)
	}
	s.tightError(err)
}

// tightError searches an error, and all that it wraps, for a value.
func (s *suite) tightError(err error) {
	s.t.Helper()
	if err == nil {
		return
	}
	for _, verb := range []string{"%v", "%+v", "%#v"} {
		s.tight(fmt.Sprintf(verb, err))
	}
	switch wrapping := err.(type) {
	case interface{ Unwrap() error }:
		s.tightError(wrapping.Unwrap())
	case interface{ Unwrap() []error }:
		for _, inner := range wrapping.Unwrap() {
			s.tightError(inner)
		}
	}
}

// tight searches what was printed for a value, in the forms that values take
// on their way.
func (s *suite) tight(printed string) {
	s.t.Helper()
	whole := Marker[:len(Marker)/3*3] // so that base64 of it is the beginning of base64 of more
	for form, leak := range map[string]string{
		"plain": Marker, "base64": base64.StdEncoding.EncodeToString([]byte(whole)), "hex": hex.EncodeToString([]byte(Marker)),
		"numbers": strings.Trim(fmt.Sprint([]byte(Marker)), "[]"),
	} {
		if strings.Contains(strings.ToLower(printed), strings.ToLower(leak)) {
			s.t.Errorf("a value is printed (%s): %s", form, printed)
		}
	}
}
