package sealing

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"fmt"
	"sync"

	"github.com/quaymaster/quaymaster/auth"
)

// Memory is a Sealer whose keys are in the memory of a test. It may be used by
// several goroutines.
type Memory struct {
	aead cipher.AEAD
	host string

	mu   sync.Mutex
	fail error
	uses int
}

// NewMemory returns the Sealer of a host, by a key that the hosts share whose
// Sealers were made for the same key.
func NewMemory(key, host string) *Memory {
	sum := sha256.Sum256([]byte(key))
	block, err := aes.NewCipher(sum[:])
	if err != nil {
		panic(err) // the key has 32 bytes
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err) // AES has blocks of 16 bytes
	}
	return &Memory{aead: aead, host: host}
}

// Fail makes all that is asked fail with this error, which is one of package
// auth; nil: no more.
func (m *Memory) Fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fail = err
}

// Uses is how many times it was asked.
func (m *Memory) Uses() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.uses
}

func (m *Memory) use(ctx context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.uses++
	if ctx.Err() != nil {
		return fmt.Errorf("the memory's sealer: %w: %w", auth.ErrSealUnavailable, ctx.Err())
	}
	if m.fail != nil {
		return fmt.Errorf("the memory's sealer: %w", m.fail)
	}
	return nil
}

// Seal implements auth.Sealer.
func (m *Memory) Seal(ctx context.Context, key []byte) ([]byte, error) {
	if err := m.use(ctx); err != nil {
		return nil, err
	}
	return m.aead.Seal(nil, nil, key, []byte(m.host)), nil
}

// Unseal implements auth.Sealer.
func (m *Memory) Unseal(ctx context.Context, sealed []byte) ([]byte, error) {
	if err := m.use(ctx); err != nil {
		return nil, err
	}
	key, err := m.aead.Open(nil, nil, sealed, []byte(m.host))
	if err != nil {
		return nil, fmt.Errorf("the memory's sealer: %w", auth.ErrNotSealedHere)
	}
	return key, nil
}
