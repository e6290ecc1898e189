package bootcache

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/broker/secret"
)

// The file:
//
//	"quaymaster boot cache" 0x01
//	the host's name, preceded by its length (4)
//	the sealed data key, preceded by its length (4)
//	the nonce (12), and what Encode wrote, under AES-256-GCM
//
// All that stands before the nonce is authenticated with it. A nonce is made at
// random for each file, and a data key writes far fewer than the 2³² files for
// which that is good (NIST SP 800-38D, 8.3).
const magic = "quaymaster boot cache\x01"

const keySize = 32

// makeLock makes the data key and has it sealed, if there is none.
func (c *Cache) makeLock(ctx context.Context) error {
	if c.lock != nil {
		return nil
	}
	key := make([]byte, keySize)
	defer clear(key)
	rand.Read(key) // never fails
	sealed, err := c.sealer.Seal(ctx, key)
	if err != nil {
		return fmt.Errorf("seal its key: %w", err)
	}
	aead, err := newAEAD(key)
	if err != nil {
		return err
	}
	c.lock = &lock{aead, sealed}
	return nil
}

func newAEAD(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("use its key: %w", err)
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// encrypt returns the content of a file.
func (c *Cache) encrypt(held []secret.Held) []byte {
	header := text(text([]byte(magic), c.host), c.lock.sealed)
	plain := Encode(held)
	defer clear(plain)
	return c.lock.Seal(header, nil, plain, header)
}

// decrypt returns what the content of a file holds. It asks the sealer only
// about files of this host.
func (c *Cache) decrypt(ctx context.Context, content []byte) ([]secret.Held, error) {
	sealed, header, body, err := c.takeApart(content)
	if err != nil {
		return nil, err
	}
	key, err := c.sealer.Unseal(ctx, sealed)
	defer clear(key)
	switch {
	case errors.Is(err, auth.ErrNotSealedHere):
		return nil, unusable("its key does not open: %w", err)
	case err != nil:
		return nil, fmt.Errorf("unseal its key: %w", err)
	case len(key) != keySize:
		return nil, unusable("what its key opens to is no key of %d bytes", keySize)
	}
	aead, err := newAEAD(key)
	if err != nil {
		return nil, err
	}
	plain, err := aead.Open(nil, nil, body, header)
	if err != nil {
		return nil, unusable("it was altered since it was written, or is cut off")
	}
	defer clear(plain)
	held, err := Decode(plain)
	if err != nil {
		return nil, unusable("%w", err)
	}
	return held, nil
}

func (c *Cache) takeApart(content []byte) (sealed, header, body []byte, err error) {
	rest, known := bytes.CutPrefix(content, []byte(magic))
	if !known {
		return nil, nil, nil, unusable("it does not begin as this version of Quaymaster writes it")
	}
	host, rest, whole := cutText(rest)
	if whole {
		sealed, body, whole = cutText(rest)
	}
	switch {
	case !whole:
		return nil, nil, nil, unusable("it is cut off or altered: it ends before the key does")
	case string(host) != c.host:
		return nil, nil, nil, unusable("it is of another host, %.80q, or its name was altered; this one is %.80q", host, c.host)
	}
	return sealed, content[:len(content)-len(body)], body, nil
}

func cutText(from []byte) (text, rest []byte, whole bool) {
	if len(from) < 4 {
		return nil, nil, false
	}
	n := uint64(binary.BigEndian.Uint32(from))
	if from = from[4:]; n > uint64(len(from)) {
		return nil, nil, false
	}
	return from[:n:n], from[n:], true
}
