package broker

import (
	"context"
	"errors"
	"time"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/providers"
)

// What is held is handed on: to the agent that comes next, in memory, and where
// the configuration says so to the next boot, encrypted. Both get only what is
// shared and has no lease: what was made for one container, or hangs on this
// agent's login, is had anew.

// Cache keeps secrets for a boot at which no provider answers.
type Cache interface {
	// Load returns what is kept and not too old. auth.ErrSealUnavailable: that
	// cannot be decided now, and may be later; after any other error there is
	// nothing.
	Load(ctx context.Context) ([]secret.Held, error)
	// Keep replaces everything that is kept. The values are wiped by the caller.
	Keep(ctx context.Context, held []secret.Held) error
}

const (
	// cachePause is how long a change waits for others before the cache is
	// written, and cacheRetry how long after a failure it is tried again.
	cachePause = 5 * time.Second
	cacheRetry = time.Minute
	// booting keeps a secret in the cache until the containers that it was kept
	// for had the time to start.
	booting = "boot"
)

// Held returns what is held and may be handed on. The values are the caller's
// to wipe.
func (b *Broker) Held() []secret.Held { return b.store.handOn(func(*entry) bool { return true }) }

func (s *store) handOn(which func(*entry) bool) (held []secret.Held) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.entries {
		if e.shared() && e.edition > 0 && e.refused == nil && which(e) {
			held = append(held, secret.Held{Secret: e.current.Clone(), Read: e.read})
		}
	}
	return held
}

// shared reports whether the secret is nobody's own and hangs on nothing.
func (e *entry) shared() bool { return e.container == "" && !e.issued && e.current.Lease.ID == "" }

// holdsShared reports whether a secret is held that is nobody's own. Whoever
// read it first, an earlier agent maybe, has asked its provider whose it is: one
// that is away now need not be asked again.
func (s *store) holdsShared(o origin) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.entries[o.key()]
	return e != nil && e.edition > 0 && e.shared()
}

// seed takes up what was handed on. It is as old as it is, so a start that
// needs it asks its provider first.
func (s *store) seed(held []secret.Held, known map[string]providers.Provider, keeper string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range held {
		ref := h.Secret.Ref.Whole()
		provider := known[ref.Provider]
		e := &entry{origin: origin{ref: ref, provider: provider}, current: h.Secret, read: h.Read, edition: 1, idle: s.now(),
			holders: map[string]time.Duration{}, keepers: map[string]bool{}}
		if provider == nil || s.entries[e.key()] != nil || s.size+size(h.Secret) > maxHeld {
			h.Secret.Wipe()
			continue
		}
		if keeper != "" {
			e.keepers[keeper] = true
		}
		s.entries[e.key()] = e
		s.size += size(h.Secret)
	}
}

// LoadCache takes up what an earlier boot kept, if that can be had within ctx;
// else Run goes on trying. It is called before Run, so that the first start can
// do with it.
func (b *Broker) LoadCache(ctx context.Context) {
	if b.BootCache == nil {
		return
	}
	held, err := b.BootCache.Load(ctx)
	if errors.Is(err, auth.ErrSealUnavailable) || ctx.Err() != nil {
		b.Log.Warn("the boot cache cannot be opened yet", "error", err)
		return
	}
	b.cacheLoaded = true
	if err != nil {
		b.Log.Error("the boot cache of an earlier boot is of no use; starts need their stores", "error", err)
	}
	b.store.seed(held, b.Providers, booting)
}

// awaitCache loads the cache, however long that takes: to write it before would
// be to lose what it has.
func (b *Broker) awaitCache(ctx context.Context) {
	for failures := 1; !b.cacheLoaded && ctx.Err() == nil; failures++ {
		select {
		case <-ctx.Done():
		case <-time.After(b.store.pause(failures)):
			ctx, cancel := context.WithTimeout(ctx, fetchPatience)
			b.LoadCache(ctx)
			cancel()
		}
	}
}

// keepCache writes the cache when what belongs into it has changed.
func (b *Broker) keepCache(ctx context.Context) error {
	b.awaitCache(ctx)
	booted := time.AfterFunc(startPatience, func() { b.store.forsake(booting) })
	defer booted.Stop()
	failing := false
	for pause := cachePause; b.store.awaitUncached(ctx, pause); {
		err := b.writeCache(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil && !failing {
			b.Log.Warn("the boot cache could not be written; a boot at which no store answers would find what it held before", "error", err)
		}
		pause, failing = cachePause, err != nil
		if failing {
			pause = cacheRetry
			b.store.uncache()
		}
	}
	return nil
}

func (b *Broker) writeCache(ctx context.Context) error {
	held := b.store.handOn(func(e *entry) bool { return len(e.keepers) > 0 })
	defer func() {
		for _, h := range held {
			h.Secret.Wipe()
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, fetchPatience)
	defer cancel()
	return b.BootCache.Keep(ctx, held)
}

// forsake ends the reason why secrets are in the cache that keeper is.
func (s *store) forsake(keeper string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forsakeLocked(keeper)
}

// forsakeLocked is forsake for a caller who has locked s.mu.
func (s *store) forsakeLocked(keeper string) {
	for _, e := range s.entries {
		delete(e.keepers, keeper)
	}
	s.uncache()
}

// uncache has the cache written soon.
func (s *store) uncache() {
	select {
	case s.uncached <- struct{}{}:
	default: // it will be already
	}
}

// awaitUncached waits until the cache is to be written, and for so long on top
// what other changes come; false: until ctx is done.
func (s *store) awaitUncached(ctx context.Context, pause time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-s.uncached:
	}
	select {
	case <-ctx.Done():
		return false
	case <-time.After(pause):
	}
	select {
	case <-s.uncached: // it will be in what is written
	default:
	}
	return true
}
