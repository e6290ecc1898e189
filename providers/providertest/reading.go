package providertest

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/quaymaster/quaymaster/broker/secret"
)

func (s *suite) fetch() {
	one, two := s.sample("one"), s.sample("two")
	a, b := s.put("qm-fetch-a", one), s.put("qm-fetch-b", two)
	before := s.Requests()
	for range 2 {
		s.reads(a, one)
		s.reads(b, two)
	}
	if n := s.Requests() - before; n != 4 {
		s.t.Errorf("4 secrets were read in %d requests: a provider makes one attempt, and keeps nothing", n)
	}
}

// fieldNames: a provider reads the whole secret, whichever field is asked for.
func (s *suite) fieldNames() {
	want := s.sample("one")
	ref := s.put("qm-field-names", want)
	for _, field := range append(slices.Collect(maps.Keys(want)), "none such") {
		ref.Field = field
		s.reads(ref, want)
	}
}

// awkward: text comes as it was stored, whatever it looks like.
func (s *suite) awkward() {
	for i, text := range []string{
		"two\nlines\r\nand\ttabs\n", ` spaces around `, `{"user":"a","password":"b"}`, `"quoted" \n \u0041`, "<xml>&amp;</xml>", "%41+%zz", "${HOME} $(id)",
	} {
		want := s.sample("")
		for name := range want {
			want[name] = append([]byte(text), Marker...)
		}
		s.reads(s.put(fmt.Sprintf("qm-awkward-%d", i), want), want)
	}
	if s.Single {
		return
	}
	want := map[string][]byte{"empty": {}, "a.b": value("dot"), "a/b": value("slash"), "a b": value("space"), "A-b_C": value("case"), "0": value("digit")}
	s.reads(s.put("qm-awkward-names", want), want)
}

func (s *suite) unicode() {
	want := s.sample("pässwörd 🔑 пароль 密码")
	if !s.Single {
		want["contraseña 🔑"] = value("密码")
	}
	s.reads(s.put("qm-unicode", want), want)
}

func (s *suite) binary() {
	want := s.sample("one")
	for name := range want {
		want[name] = s.bytes(512)
	}
	s.reads(s.put("qm-binary", want), want)
}

// bytes are n bytes of all kinds that the store keeps.
func (s *suite) bytes(n int) []byte {
	content := []byte(Marker)
	for i := len(content); i < n; i++ {
		if c := byte(i); !s.Text || (c >= ' ' && c < 0x7f) {
			content = append(content, c)
		} else {
			content = append(content, 'x')
		}
	}
	return content
}

func (s *suite) large() {
	name := "value"
	if !s.Single {
		name = "large"
	}
	content := append([]byte(Marker), bytes.Repeat([]byte("x"), s.MaxSize-len(Marker))...)
	if !s.Text {
		content = s.bytes(s.MaxSize)
	}
	want := map[string][]byte{name: content}
	s.reads(s.put("qm-large", want), want)
}

// versions: without a version the current one is read, whichever it is.
func (s *suite) versions() {
	one, two, three := s.sample("one"), s.sample("two"), s.sample("three")
	ref := s.put("qm-versions", one)
	first := s.reads(ref, one)
	s.put("qm-versions", two)
	second := s.reads(ref, two)
	if !s.Versions {
		return
	}
	if first.Version == second.Version {
		s.t.Errorf("both versions are %q", first.Version)
	}
	old, current := ref, ref
	old.Version, current.Version = first.Version, second.Version
	s.wantVersion(s.reads(old, one), first.Version)
	s.wantVersion(s.reads(current, two), second.Version)
	s.put("qm-versions", three)
	s.wantVersion(s.reads(current, two), second.Version) // current then, and kept
	s.reads(ref, three)
}

func (s *suite) wantVersion(found secret.Secret, version string) {
	s.t.Helper()
	if found.Version != version {
		s.t.Errorf("%s says that it is version %q", found.Ref, found.Version)
	}
}

// concurrent: one provider serves many at once, and gives each what it asked for.
func (s *suite) concurrent() {
	const readers, rounds = 8, 4
	var refs []secret.Ref
	var wants []map[string][]byte
	for i := range 3 {
		wants = append(wants, s.sample(fmt.Sprint("secret ", i)))
		refs = append(refs, s.put(fmt.Sprintf("qm-concurrent-%d", i), wants[i]))
	}
	errs := make(chan error)
	for reader := range readers {
		go func() {
			var problems []error
			for round := range rounds {
				i := (reader + round) % len(refs)
				found, err := s.Provider.Fetch(s.t.Context(), refs[i])
				problems = append(problems, err)
				for name, content := range wants[i] {
					if err == nil && !bytes.Equal(found.Fields[name].Reveal(), content) { // to compare with what was stored
						problems = append(problems, fmt.Errorf("%s: field %q is another's", refs[i], name))
					}
				}
				found.Wipe()
			}
			errs <- errors.Join(problems...)
		}()
	}
	for range readers {
		if err := <-errs; err != nil {
			s.t.Error(err)
		}
	}
}

// buffers: whoever wipes what he got wipes nothing else.
func (s *suite) buffers() {
	want := s.sample("one")
	ref := s.put("qm-buffers", want)
	first, second := s.reads(ref, want), s.reads(ref, want)
	left := maps.Clone(want)
	for _, name := range first.Names() {
		first.Fields[name].Wipe()
		delete(left, name)
		for other, content := range left {
			if !bytes.Equal(first.Fields[other].Reveal(), content) { // to compare with what was stored
				s.t.Errorf("wiping field %q changed field %q", name, other)
			}
		}
	}
	s.is(second, ref, want)
	s.reads(ref, want)
}
