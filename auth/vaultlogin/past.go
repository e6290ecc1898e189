package vaultlogin

import (
	"maps"
	"slices"
	"time"
)

// past are tokens that were handed out once and replaced since.
type past struct {
	ends map[string]time.Time // by accessor; zero: at once, because Vault has forgotten it
	tell func()               // called when there is one more; must not block
}

func newPast(tell func()) past { return past{ends: map[string]time.Time{}, tell: tell} }

// pastTokens is how many replaced tokens are remembered. What hung on one is
// had anew long before so many others have come and gone.
const pastTokens = 64

// add remembers a token. A batch token has no accessor and is not remembered:
// Vault gives no lease under it that would last longer.
func (p past) add(accessor string, ends time.Time) {
	if accessor == "" {
		return
	}
	if len(p.ends) >= pastTokens {
		oldest := slices.MinFunc(slices.Collect(maps.Keys(p.ends)), func(a, b string) int { return p.ends[a].Compare(p.ends[b]) })
		delete(p.ends, oldest)
	}
	p.ends[accessor] = ends
	if p.tell != nil {
		p.tell()
	}
}

// age brings every end nearer, for time that passed unseen.
func (p past) age(by time.Duration) {
	for accessor, ends := range p.ends {
		if !ends.IsZero() {
			p.ends[accessor] = ends.Add(-by)
		}
	}
}
