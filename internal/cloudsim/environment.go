package cloudsim

import (
	crand "crypto/rand"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

// Alphabets for Environment.Text.
const (
	Upper    = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	Digits   = "0123456789"
	Hex      = Digits + "abcdef"
	Base32   = Upper + "234567"
	Alphanum = Upper + "abcdefghijklmnopqrstuvwxyz" + Digits
)

// Environment is what stand-ins take from outside: the clock and chance. It may
// be used by several goroutines and shared by several stand-ins, which then
// agree on the time.
type Environment struct {
	now func() time.Time

	mu     sync.Mutex
	chance *rand.Rand
}

// NewEnvironment returns an environment with the given clock and source of
// chance. A nil clock is time.Now; a nil source is one that nobody can guess,
// and a seeded one makes names, keys and tokens the same in every run.
func NewEnvironment(now func() time.Time, source rand.Source) *Environment {
	if now == nil {
		now = time.Now
	}
	if source == nil {
		var seed [32]byte
		crand.Read(seed[:]) // never fails
		source = rand.NewChaCha8(seed)
	}
	return &Environment{now: now, chance: rand.New(source)}
}

// Now is the current time, in UTC.
func (e *Environment) Now() time.Time { return e.now().UTC() }

// Text is n random characters of alphabet.
func (e *Environment) Text(alphabet string, n int) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	text := make([]byte, n)
	for i := range text {
		text[i] = alphabet[e.chance.IntN(len(alphabet))]
	}
	return string(text)
}

// UUID is a random UUID.
func (e *Environment) UUID() string {
	h := e.Text(Hex, 32)
	return fmt.Sprintf("%s-%s-%s-%s-%s", h[:8], h[8:12], h[12:16], h[16:20], h[20:])
}
