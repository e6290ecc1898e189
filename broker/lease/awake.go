package lease

import "time"

// Awake notices that the machine slept. Deadlines go by the monotonic clock,
// which nobody can set but which stops in a sleep, and so do timers: whoever
// waits for one looks once a minute or so. It is used by one goroutine.
type Awake struct {
	Now            func() time.Time // with its monotonic reading; nil: time.Now
	Wall           func() time.Time // nil: Now
	seen, seenWall time.Time
}

// Missed is how much time passed unseen since it was called last; at its first
// call none. See Missed, the function, for what that is worth.
func (a *Awake) Missed() time.Duration {
	now := a.now()
	wall := now
	if a.Wall != nil {
		wall = a.Wall()
	}
	wall = wall.Round(0) // without its monotonic reading, by which Sub would go
	before, wallBefore := a.seen, a.seenWall
	a.seen, a.seenWall = now, wall
	if before.IsZero() {
		return 0
	}
	return Missed(now.Sub(before), wall.Sub(wallBefore))
}

func (a *Awake) now() time.Time {
	if a.Now == nil {
		return time.Now()
	}
	return a.Now()
}
