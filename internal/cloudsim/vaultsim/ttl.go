package vaultsim

import (
	"fmt"
	"strings"
	"time"
)

// systemTTL is both how long a token lives by default and how long it may live
// at most, as Vault has it out of the box.
const systemTTL = 768 * time.Hour

// terms say how long a role's tokens live. Zero leaves a term to Vault.
type terms struct {
	ttl, maxTTL time.Duration
	period      time.Duration // such tokens have no maximum and live this long from each renewal
}

// grant says how long from now on a token lives whose age is given, and warns
// when that is less than what was asked for, or would be by default.
func (t terms) grant(asked, age time.Duration) (ttl time.Duration, warning string) {
	limit := systemTTL
	if t.maxTTL > 0 {
		limit = min(limit, t.maxTTL)
	}
	if t.period > 0 {
		return min(t.period, limit), ""
	}
	ttl = systemTTL
	if asked > 0 {
		ttl = asked
	} else if t.ttl > 0 {
		ttl = t.ttl
	}
	left := (limit - age).Truncate(time.Second)
	if ttl <= left {
		return ttl, ""
	}
	return left, fmt.Sprintf("TTL of %q exceeded the effective max_ttl of %q; TTL value is capped accordingly", brief(ttl), brief(left))
}

// brief writes 1h for 1h0m0s.
func brief(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}
