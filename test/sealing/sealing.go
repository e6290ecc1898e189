// Package sealing is what every auth.Sealer does, as a test, and a Sealer in
// memory that passes it, for tests of those who use one.
//
// Each implementation calls Run in a test of its own, with stand-ins of the
// cloud, or the real program, behind it.
package sealing

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/quaymaster/quaymaster/auth"
)

// World is a Sealer and what can happen to it. Each function undoes with what
// it returns.
type World struct {
	Sealer auth.Sealer
	// Other is another host's, which may use the same key where the key is not
	// the host's own.
	Other auth.Sealer
	Deny  map[string]func() (undo func()) // the host may not, for several reasons
	Break map[string]func() (undo func()) // nobody answers, or nobody can decide
}

// Run tests a Sealer.
func Run(t *testing.T, w World) {
	t.Run("gives back what was sealed", w.roundTrip)
	t.Run("opens nothing that was altered", w.altered)
	t.Run("opens nothing of another host", w.other)
	t.Run("says when it may not", func(t *testing.T) { w.fails(t, w.Deny, auth.ErrSealRefused) })
	t.Run("says when nobody answers", func(t *testing.T) { w.fails(t, w.Break, auth.ErrSealUnavailable) })
	t.Run("ends when it is given up", w.givenUp)
}

func newKey() []byte {
	key := make([]byte, 32)
	rand.Read(key) // never fails
	return key
}

func (w World) seal(t *testing.T) (key, sealed []byte) {
	t.Helper()
	key = newKey()
	sealed, err := w.Sealer.Seal(t.Context(), bytes.Clone(key))
	if err != nil {
		t.Fatal(err)
	}
	return key, sealed
}

func (w World) roundTrip(t *testing.T) {
	for range 2 {
		key, sealed := w.seal(t)
		for _, form := range forms(key) {
			if bytes.Contains(sealed, []byte(form)) {
				t.Errorf("the key is in what was sealed: %x", sealed)
			}
		}
		if opened, err := w.Sealer.Unseal(t.Context(), sealed); err != nil || !bytes.Equal(opened, key) {
			t.Errorf("%d bytes were opened, %v", len(opened), err)
		}
	}
}

func (w World) altered(t *testing.T) {
	key, sealed := w.seal(t)
	wrong := [][]byte{nil, sealed[:len(sealed)-1], sealed[:len(sealed)/2], sealed[1:], append(bytes.Clone(sealed), 0), []byte("hello")}
	for i := range sealed {
		flipped := bytes.Clone(sealed)
		flipped[i] ^= 1 << (i % 8)
		wrong = append(wrong, flipped)
	}
	for i, sealed := range wrong {
		if opened, err := w.Sealer.Unseal(t.Context(), sealed); opened != nil || !errors.Is(err, auth.ErrNotSealedHere) {
			t.Errorf("alteration %d: %d bytes were opened, %v", i, len(opened), err)
		} else {
			check(t, err, auth.ErrNotSealedHere, key)
		}
	}
}

func (w World) other(t *testing.T) {
	key, sealed := w.seal(t)
	if _, err := w.Other.Seal(t.Context(), newKey()); err != nil {
		t.Fatal(err) // it must be a host that could
	}
	opened, err := w.Other.Unseal(t.Context(), sealed)
	if opened != nil {
		t.Errorf("%d bytes were opened", len(opened))
	}
	check(t, err, auth.ErrNotSealedHere, key)
}

func (w World) fails(t *testing.T, ways map[string]func() func(), kind error) {
	if len(ways) == 0 {
		t.Fatal("there is no way in which it fails")
	}
	for name, happen := range ways {
		t.Run(name, func(t *testing.T) {
			key, sealed := w.seal(t)
			undo := happen()
			again, err := w.Sealer.Seal(t.Context(), bytes.Clone(key))
			check(t, err, kind, key)
			opened, openErr := w.Sealer.Unseal(t.Context(), sealed)
			check(t, openErr, kind, key)
			if again != nil || opened != nil {
				t.Errorf("sealed %d bytes, opened %d", len(again), len(opened))
			}
			undo()
			if opened, err := w.Sealer.Unseal(t.Context(), sealed); err != nil || !bytes.Equal(opened, key) {
				t.Errorf("after it is over: %d bytes were opened, %v", len(opened), err)
			}
		})
	}
}

func (w World) givenUp(t *testing.T) {
	key, sealed := w.seal(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := w.Sealer.Seal(ctx, bytes.Clone(key))
	check(t, err, auth.ErrSealUnavailable, key)
	_, err = w.Sealer.Unseal(ctx, sealed)
	check(t, err, auth.ErrSealUnavailable, key)
}

// check: an error wraps the one decision that follows, is one line, and holds
// nothing of the key.
func check(t *testing.T, err, kind error, key []byte) {
	t.Helper()
	if err == nil {
		t.Errorf("no error, which should be: %v", kind)
		return
	}
	for _, other := range []error{auth.ErrNotSealedHere, auth.ErrSealRefused, auth.ErrSealUnavailable} {
		if errors.Is(err, other) != (other == kind) {
			t.Errorf("is %q: %v, of: %v", other, other != kind, err)
		}
	}
	text := err.Error()
	if strings.ContainsAny(text, "\n\r") || len(text) > 700 {
		t.Errorf("is not a line: %q", text)
	}
	if leaks(text, key) {
		t.Errorf("the key, or a part of it, is in: %q", text)
	}
}

// forms are how a text could hold a key.
func forms(key []byte) []string {
	return []string{string(key), hex.EncodeToString(key), strings.TrimRight(base64.StdEncoding.EncodeToString(key), "="),
		strings.TrimRight(base64.URLEncoding.EncodeToString(key), "=")}
}

// leaks looks for a third of the key, in each form.
func leaks(text string, key []byte) bool {
	return slices.ContainsFunc(forms(key), func(form string) bool { return strings.Contains(text, form[:len(form)/3]) })
}
