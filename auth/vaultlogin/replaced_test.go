package vaultlogin_test

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quaymaster/quaymaster/auth/vaultlogin"
)

// Who leased something is told of each token that was replaced or forgotten,
// and of none that was only renewed.
func TestReplacedIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVault(t)
		v.set(func() { v.maxTTL = 4 * time.Hour })
		var told atomic.Int32
		source, _ := start(t, v, func(o *vaultlogin.Options) { o.Replaced = func() { told.Add(1) } })
		first := within(t, source, time.Second)
		time.Sleep(3 * time.Hour)
		if n := told.Load(); n != 0 {
			t.Errorf("told %d times of a token that was only renewed", n)
		}
		time.Sleep(time.Hour)
		if _, superseded := source.Superseded(first.Accessor); !superseded || told.Load() != 1 {
			t.Errorf("superseded: %v, told %d times", superseded, told.Load())
		}
		v.revokeAll()
		second := within(t, source, time.Second)
		if _, err := source.Refused(t.Context(), second); err != nil {
			t.Fatal(err)
		}
		if n := told.Load(); n != 2 {
			t.Errorf("told %d times of a token at its end and one that was revoked", n)
		}
	})
}
