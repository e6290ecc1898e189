package lease

import "time"

// Floor is a good least time between two grants of one thing. Whatever a
// server answers, one lease then costs it twelve requests a minute at most.
const Floor = 5 * time.Second

// Terms are what is known, at the moment of planning, of something that was
// granted for a time.
type Terms struct {
	TTL       time.Duration // what the last grant or renewal gave; zero: it has no end of its own
	Full      time.Duration // what the first grant gave
	Renewable bool
	Age       time.Duration // since TTL began to run
	// Bounded says that it ends with something else that it hangs on, a lease
	// with the token that it was made with, and Left how long that lives from
	// now; nothing when it is dead.
	Bounded bool
	Left    time.Duration
}

// Plan says what to do next and how long from now. It is asked once after each
// grant and renewal, and once more when a bound appears or moves; the caller
// keeps the answer, because a later one would draw the line anew.
//
// What is bounded is replaced within four fifths of the time that is left, at
// a moment that jitter chooses, so that all that hangs on one token is not had
// anew in one moment; it is renewed meanwhile, when its own end is nearer.
// Neither step comes sooner after the last grant than floor, though the thing
// be dead by then: a server that grants next to nothing would be asked for a
// new one without end.
func Plan(t Terms, floor time.Duration, jitter float64) (Step, time.Duration) {
	step, after := t.own(jitter)
	if t.Bounded {
		if spread := StartAfter(max(t.Left, 0)/5*4, jitter); step == Keep || spread <= after {
			step, after = Replace, spread
		}
	}
	if step == Keep {
		return Keep, 0
	}
	return step, t.noSooner(after, floor, jitter)
}

// own is the plan by the thing's own time alone.
func (t Terms) own(jitter float64) (Step, time.Duration) {
	step, due := Next(t.TTL, t.Full, t.Renewable, jitter)
	if step != Keep && t.Age >= t.TTL {
		step = Replace // it has ended, and what has ended is not renewed
	}
	return step, due - t.Age
}

// Retry is Plan after a step that failed, to be repeated after delay (of a
// Backoff). When only the last stretch of its time is left, renewal and
// replacement take turns, because the store may come to grant the one or the
// other, and a renewal disturbs nobody; what will have ended by then is replaced.
func Retry(t Terms, failed Step, delay, floor time.Duration, jitter float64) (Step, time.Duration) {
	after := t.noSooner(delay, floor, jitter)
	age := t.Age + after
	switch {
	case t.TTL <= 0 || !t.Renewable || age >= t.TTL:
		return Replace, after
	case age >= ReplaceAfter(t.TTL, 0) && failed == Renew:
		return Replace, after
	case age >= ReplaceAfter(t.TTL, 0) && t.TTL >= t.Full/10*9:
		return Renew, after
	}
	return failed, after
}

// noSooner is after, or what is missing of floor since the last grant and up
// to half of that more, so that those who are held up do not go on together.
func (t Terms) noSooner(after, floor time.Duration, jitter float64) time.Duration {
	missing := max(floor-t.Age, 0)
	if after >= missing {
		return after
	}
	return missing + time.Duration(float64(missing)/2*jitter)
}
