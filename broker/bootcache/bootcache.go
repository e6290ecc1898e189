// Package bootcache keeps what an agent held beyond its life: for the next
// agent, as bytes that are handed over in memory (Encode, Decode), and for a
// boot at which no provider answers, as one encrypted file (Cache).
//
// The file is encrypted with a data key that is made anew by each agent, lives
// in its memory, and stands in the file as a Sealer encrypted it: by a key that
// this host alone can use. So the file is worth nothing away from the host, and
// nothing of it can be changed unnoticed. It holds when each value was last
// known to be the provider's, and none is given out that is older than
// MaxStale.
//
// A file that is not as it was written is never used and never repaired: it is
// moved aside, where an operator can look at it, and the agent starts without.
//
// What the file cannot tell is whether it is the newest: whoever can write on
// the host's disk can put back an older one, which then is used as far as
// MaxStale goes, and no further.
package bootcache

import (
	"context"
	"crypto/cipher"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/broker/secret"
)

// ErrBad says that there is a cache that cannot be used: altered, cut off,
// another host's, or open to others than the agent. It was moved aside. The
// agent starts without, and whoever keeps the host should know.
var ErrBad = errors.New("the boot cache is not used")

// Sealer is what seals the data key.
type Sealer = auth.Sealer

// Options of a Cache. All but Now and Log are needed.
type Options struct {
	Dir      string // of mode 0700; made when it is missing. Nothing else may lie in it
	Host     string // names this host, and does so after a reboot
	Sealer   Sealer
	MaxStale time.Duration    // how old a value may be that Load returns
	Now      func() time.Time // nil: time.Now
	Log      *slog.Logger     // nil: none
}

// Cache is the encrypted file. It may be used by several goroutines; a second
// Cache must not use the same directory.
type Cache struct {
	dir      string
	host     string
	sealer   Sealer
	maxStale time.Duration
	now      func() time.Time
	log      *slog.Logger
	root     *os.Root

	mu      sync.Mutex
	lock    *lock // nil: no data key yet
	written written
}

// lock is the data key as it is used, and as it stands in the file.
type lock struct {
	cipher.AEAD
	sealed []byte
}

// written is what the file holds since the last Keep; the zero value: not known.
type written struct {
	file  os.FileInfo
	sum   [sha256.Size]byte    // of all but the times
	reads map[string]time.Time // by ref
}

// Open checks the options and the directory. It neither reads the file nor asks
// the sealer. A directory that others can write to or look into is an error.
func Open(_ context.Context, o Options) (*Cache, error) {
	if o.Dir == "" || o.Host == "" || o.Sealer == nil || o.MaxStale <= 0 {
		return nil, errors.New("open the boot cache: it needs a directory, the host's name, a sealer, and a max_stale of more than nothing")
	}
	root, err := openDir(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("open the boot cache: %w", err)
	}
	c := &Cache{dir: o.Dir, host: o.Host, sealer: o.Sealer, maxStale: o.MaxStale, now: o.Now, log: o.Log, root: root}
	if c.now == nil {
		c.now = time.Now
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	return c, nil
}

func openDir(dir string) (*os.Root, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	found, err := os.Lstat(dir)
	if err != nil {
		return nil, err
	}
	if !found.IsDir() {
		return nil, fmt.Errorf("%s is not a directory: remove it", dir)
	}
	if others := openTo(found); others != "" {
		return nil, fmt.Errorf("the directory %s %s: find out why, and remove it; the agent makes it anew", dir, others)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	if opened, err := root.Stat("."); err != nil || !os.SameFile(found, opened) {
		return nil, errors.Join(fmt.Errorf("the directory %s was replaced while it was opened", dir), err, root.Close())
	}
	return root, nil
}

// openTo says to whom but the agent a file or directory is open; empty: nobody.
func openTo(info os.FileInfo) string {
	if system, ok := info.Sys().(*syscall.Stat_t); ok && int(system.Uid) != os.Geteuid() {
		return fmt.Sprintf("belongs to user %d and not to the agent's", system.Uid)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return fmt.Sprintf("is open to others (mode %04o)", mode)
	}
	return ""
}

// Close ends the use of the cache. The file stays, for the next boot.
func (c *Cache) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lock = nil
	return c.root.Close()
}

// Load returns what was last kept and was read less than MaxStale ago, by the
// time of day. A value from the future is left out too: when the clock was set
// back, nobody knows how old it is. Without a file there is nothing, and no
// error. An error wraps ErrBad, and the file was moved aside; or one of package
// auth, because the sealer did not open the data key, and the file stays as it
// is; or neither, when the disk fails.
func (c *Cache) Load(ctx context.Context) ([]secret.Held, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	held, err := c.load(ctx)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case errors.Is(err, ErrBad):
		return nil, c.aside(err)
	case err != nil:
		return nil, fmt.Errorf("load the boot cache %s: %w", c.path(file), err)
	}
	return c.young(held), nil
}

func (c *Cache) load(ctx context.Context) ([]secret.Held, error) {
	content, err := c.read()
	if err != nil {
		return nil, err
	}
	return c.decrypt(ctx, content)
}

// young drops what is too old to be given out.
func (c *Cache) young(held []secret.Held) (young []secret.Held) {
	now, old, future := c.now(), 0, 0
	for _, h := range held {
		switch age := now.Sub(h.Read); {
		case age < 0:
			future++
			h.Secret.Wipe()
		case age >= c.maxStale:
			old++
			h.Secret.Wipe()
		default:
			young = append(young, h)
		}
	}
	if old+future > 0 {
		c.log.Warn("the boot cache has secrets that are not used", "older than max_stale", old, "read in the future: was the clock set back?", future)
	}
	return young
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

// Wipe removes all that the cache has on the disk, what was moved aside
// included, and forgets the data key. It may be kept anew afterwards.
func (c *Cache) Wipe() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lock = nil
	return c.remove(file, unfinished, bad)
}

func (c *Cache) path(name string) string { return filepath.Join(c.dir, name) }
