package bootcache

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"time"

	"github.com/quaymaster/quaymaster/broker/secret"
)

// written is what the file holds since the last Keep; the zero value: not known.
type written struct {
	file  os.FileInfo
	sum   [sha256.Size]byte    // of all but the times
	reads map[string]time.Time // by ref
}

// Keep replaces the file by these secrets, as a whole and at once; what is older
// than MaxStale is left out, and without any there is no file. It writes nothing
// when nothing changed but times, and those by a tenth of MaxStale at most: it
// may be called whenever something might have changed. The first call has the
// data key sealed; an error of that wraps one of package auth. After an error
// the file is whole, and nearly always the old one.
func (c *Cache) Keep(ctx context.Context, held []secret.Held) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	held = c.dated(held)
	if len(held) == 0 {
		return c.remove(file, unfinished)
	}
	next := describe(held)
	if c.stands(next) {
		return nil
	}
	err := c.makeLock(ctx)
	if err == nil {
		next.file, err = c.replace(c.encrypt(held))
	}
	if err != nil {
		return fmt.Errorf("keep the boot cache %s: %w", c.path(file), err)
	}
	c.written = next
	return nil
}

// dated puts times into the wall clock's present count, which is all that the
// next boot has, and leaves out what is too old. The clock may have been set
// since a secret was read, or the host may have slept, which the monotonic
// clock does not see: of both ages the greater counts.
func (c *Cache) dated(held []secret.Held) (dated []secret.Held) {
	now := c.now()
	for _, h := range held {
		age := now.Sub(h.Read)
		if age < 0 {
			continue // from the future: see Load
		}
		if age = max(age, now.Round(0).Sub(h.Read.Round(0))); age < c.maxStale {
			h.Read = now.Round(0).Add(-age)
			dated = append(dated, h)
		}
	}
	return dated
}

func describe(held []secret.Held) written {
	w, timeless := written{reads: map[string]time.Time{}}, make([]secret.Held, len(held))
	for i, e := range ordered(held) {
		w.reads[e.ref] = e.Read
		timeless[i] = secret.Held{Secret: e.Secret, Read: time.Unix(0, 0)}
	}
	content := Encode(timeless[:len(w.reads)])
	w.sum = sha256.Sum256(content) // stays in memory, where the values are too
	clear(content)
	return w
}

// stands reports whether the file is good enough for what is to be kept.
func (c *Cache) stands(next written) bool {
	if c.written.file == nil || c.written.sum != next.sum {
		return false
	}
	for ref, read := range next.reads {
		if read.Sub(c.written.reads[ref]).Abs() > c.maxStale/10 {
			return false
		}
	}
	found, err := c.root.Lstat(file)
	return err == nil && os.SameFile(found, c.written.file)
}
