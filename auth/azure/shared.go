package azure

import (
	"context"
	"fmt"
	"sync"

	"github.com/quaymaster/quaymaster/auth"
)

// shared makes those who want the same thing at the same time share one
// request for it. The one who comes first makes it, with its own context; the
// others wait, each as long as its own context says. The zero value is ready.
type shared[T any] struct {
	mu      sync.Mutex
	running map[string]*asking[T]
}

// asking is a request, for all who wait for its end.
type asking[T any] struct {
	done  chan struct{} // closed when the rest is set
	found T
	err   error
	// givenUp: the one who asked went away, which says nothing of the service.
	givenUp bool
}

// get returns what ask finds for key, or what it is finding already.
func (s *shared[T]) get(ctx context.Context, key, what string, ask func(ctx context.Context) (T, error)) (found T, err error) {
	for {
		running, mine := s.join(key)
		if mine {
			running.found, running.err = ask(ctx)
			running.givenUp = running.err != nil && ctx.Err() != nil
			s.leave(key, running)
			if running.givenUp {
				return found, fmt.Errorf("%w: %w", running.err, ctx.Err())
			}
			return running.found, running.err
		}
		select {
		case <-running.done:
			if !running.givenUp {
				return running.found, running.err
			}
		case <-ctx.Done():
			return found, fmt.Errorf("waiting for %s: %w: %w", what, ctx.Err(), auth.ErrUnavailable)
		}
	}
}

// join returns the request that is running, or a new one to be made.
func (s *shared[T]) join(key string) (_ *asking[T], mine bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if running, found := s.running[key]; found {
		return running, false
	}
	if s.running == nil {
		s.running = map[string]*asking[T]{}
	}
	s.running[key] = &asking[T]{done: make(chan struct{})}
	return s.running[key], true
}

func (s *shared[T]) leave(key string, a *asking[T]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.running, key)
	close(a.done)
}
