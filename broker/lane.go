package broker

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/time/rate"

	"github.com/quaymaster/quaymaster/providers"
)

const (
	// fetchPatience bounds one read of a provider.
	fetchPatience = 20 * time.Second
	// laneWidth is how many requests to one provider are under way at a time.
	laneWidth = 32
)

// lane is the way to one provider: so many requests at a time, and so many in
// a second.
type lane struct {
	slots chan struct{}
	limit *rate.Limiter
}

// newLane takes the requests a second that the provider may be asked; zero: as
// many as there are.
func newLane(perSecond int) *lane {
	l := &lane{slots: make(chan struct{}, laneWidth), limit: rate.NewLimiter(rate.Inf, 0)}
	if perSecond > 0 {
		l.limit = rate.NewLimiter(rate.Limit(perSecond), perSecond)
	}
	return l
}

// enter waits for its turn; the caller calls leave afterwards.
func (l *lane) enter(ctx context.Context) error {
	if err := l.takeSlot(ctx); err != nil {
		return fmt.Errorf("%w: too many requests to it are under way already: %w", providers.ErrUnavailable, err)
	}
	if err := l.limit.Wait(ctx); err != nil {
		l.leave()
		return fmt.Errorf("%w: the rate that the configuration sets for it is used up: %w", providers.ErrUnavailable, err)
	}
	return nil
}

func (l *lane) takeSlot(ctx context.Context) error {
	select {
	case l.slots <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := ctx.Err(); err != nil { // both at once: it is too late for a request
		l.leave()
		return err
	}
	return nil
}

func (l *lane) leave() { <-l.slots }
