package secret

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"log/slog"
)

// MaxValueSize is the largest value, in bytes, that is delivered to a container.
// It is Vault's own default limit for one stored entry.
const MaxValueSize = 1 << 20

// redacted is what every way of printing a Value shows.
const redacted = "[secret]"

// Value carries one secret value and cannot be printed.
//
// Its only field is a func, because that is the one shape whose content fmt,
// log/slog and encoding/json cannot reach even when the Value sits in an
// unexported field of another struct, where no String method is consulted.
//
// The zero Value is empty. A Value may be copied; all copies share one buffer,
// and a Value may be used by several goroutines until one of them wipes it.
type Value struct {
	buffer func() []byte
}

// NewValue takes ownership of b: the caller must not use it afterwards.
func NewValue(b []byte) Value {
	return Value{buffer: func() []byte { return b }}
}

// Reveal returns the value itself: the shared buffer, not a copy, which the
// caller must neither change nor keep. It is the only way to the plaintext;
// every call says, where it stands, why it needs it.
func (v Value) Reveal() []byte {
	if v.buffer == nil {
		return nil
	}
	return v.buffer()
}

// Len is the length of the value in bytes.
func (v Value) Len() int { return len(v.Reveal()) } // only the length leaves

// Equal reports whether both values are the same, in time that depends on
// their lengths alone.
func (v Value) Equal(other Value) bool {
	return subtle.ConstantTimeCompare(v.Reveal(), other.Reveal()) == 1 // only the verdict leaves
}

// MAC is the hex HMAC-SHA256 of the value under key: enough to tell whether
// two values are the same, and nothing more to those who lack the key.
func (v Value) MAC(key []byte) string {
	mac := hmac.New(sha256.New, key)
	mac.Write(v.Reveal()) // only the keyed digest leaves
	return hex.EncodeToString(mac.Sum(nil))
}

// Clone returns the same value in a buffer of its own.
func (v Value) Clone() Value { return NewValue(bytes.Clone(v.Reveal())) } // into another Value

// Wipe overwrites the buffer that all copies of v share with zeros.
func (v Value) Wipe() {
	clear(v.Reveal()) // nothing leaves
}

// Format implements fmt.Formatter for every verb.
func (v Value) Format(f fmt.State, _ rune) { fmt.Fprint(f, redacted) }

// LogValue implements slog.LogValuer.
func (v Value) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText implements encoding.TextMarshaler, and with it encoding/json.
func (v Value) MarshalText() ([]byte, error) { return []byte(redacted), nil }
