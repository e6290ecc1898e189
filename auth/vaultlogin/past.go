package vaultlogin

import (
	"maps"
	"slices"
	"time"
)

// past are tokens that were handed out once and replaced since, by accessor,
// and when each ends: at once, if Vault has forgotten it.
type past map[string]time.Time

// pastTokens is how many replaced tokens are remembered. What hung on one is
// had anew long before so many others have come and gone.
const pastTokens = 64

// add remembers a token. A batch token has no accessor and is not remembered:
// Vault gives no lease under it that would last longer.
func (p past) add(accessor string, ends time.Time) {
	if accessor == "" {
		return
	}
	if len(p) >= pastTokens {
		oldest := slices.MinFunc(slices.Collect(maps.Keys(p)), func(a, b string) int { return p[a].Compare(p[b]) })
		delete(p, oldest)
	}
	p[accessor] = ends
}

// age brings every end nearer, for time that passed unseen.
func (p past) age(by time.Duration) {
	for accessor, ends := range p {
		if !ends.IsZero() {
			p[accessor] = ends.Add(-by)
		}
	}
}
