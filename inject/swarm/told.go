package swarm

import (
	"sync"
	"time"
)

// The pace at which the same thing is told again: after a minute, then after
// twice as long each time, up to an hour. What was not asked for that long is
// forgotten.
const (
	firstPause = time.Minute
	lastPause  = time.Hour
)

// told keeps a log from being filled with one thing. The zero value has told
// nothing. It may be used by several goroutines.
type told struct {
	mu     sync.Mutex
	things map[string]pace
}

// pace is when a thing may be told again, and how long it is silent after that.
type pace struct {
	next  time.Time
	pause time.Duration
}

// first reports whether thing is to be told now.
func (t *told) first(thing string, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.things == nil {
		t.things = map[string]pace{}
	}
	p, known := t.things[thing]
	if known && now.Before(p.next) {
		return false
	}
	t.forget(now)
	pause := firstPause
	if known {
		pause = min(2*p.pause, lastPause)
	}
	t.things[thing] = pace{next: now.Add(pause), pause: pause}
	return true
}

// forget drops what was due long ago and did not come.
func (t *told) forget(now time.Time) {
	for thing, p := range t.things {
		if now.Sub(p.next) > lastPause {
			delete(t.things, thing)
		}
	}
}
