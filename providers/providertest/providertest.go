// Package providertest says what every provider does, as a test that each of
// them passes.
//
// A provider's own test opens a World, which is the provider and the far end
// that it reads from, and hands it to Run. The far end is as real as can be
// had: a server, or a stand-in that the provider speaks to over the wire.
// Memory is a provider without a far end: it passes too, and so it can stand
// for any of them in the tests of those who use one.
package providertest

import (
	"testing"

	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/providers"
)

// World is one provider and the far end it reads from, as a test sees it.
type World struct {
	Provider providers.Provider
	// Put stores a secret with these fields, or a new version of it, and
	// returns the ref that reads it whole. Names are of letters, digits and
	// dashes; a store where others have names of their own may add a prefix.
	Put func(t *testing.T, name string, fields map[string][]byte) secret.Ref
	// Missing names nothing.
	Missing secret.Ref
	// Denied exists, and the host may not read it.
	Denied func(t *testing.T) secret.Ref
	// Break makes the far end misbehave until undo. Whatever it answers
	// meanwhile had better contain Marker, which must not come out in an error.
	Break func(t *testing.T, how Fault) (undo func())
	// Requests is how many reads of secrets have reached the far end. A batch
	// is one; asking which version is current, or what a mount is, is none.
	Requests func() int

	MaxSize  int  // of one value, in bytes, that the store keeps
	Text     bool // the store keeps text only (UTF-8), no arbitrary bytes
	Single   bool // the store keeps one value per secret and no fields: its field is called "value"
	Versions bool // an older version can still be read: ref.Version as Secret.Version said
}

// Fault is one way in which a far end misbehaves.
type Fault string

// The faults. What a provider reads meanwhile is ErrUnavailable.
const (
	Down      Fault = "down"      // connections are refused or reset
	Slow      Fault = "slow"      // answers take 30 s
	Throttled Fault = "throttled" // it answers that it is asked too often
	Garbage   Fault = "garbage"   // it answers what no such service does
	Failing   Fault = "failing"   // it answers that something of its own failed (5xx)
)

// Marker is part of every value that the suite stores.
const Marker = "qm-MARKER-7f3a91"

// Run tests the provider of the worlds that open returns, one for each subtest.
// The worlds may share a far end: no two subtests use the same names.
func Run(t *testing.T, open func(t *testing.T) *World) {
	for _, test := range []struct {
		name string
		run  func(*suite)
	}{
		{"fetch", (*suite).fetch}, {"field names", (*suite).fieldNames}, {"awkward values", (*suite).awkward},
		{"unicode", (*suite).unicode}, {"binary", (*suite).binary}, {"large", (*suite).large},
		{"versions", (*suite).versions}, {"missing version", (*suite).missingVersion},
		{"missing", (*suite).missing}, {"denied", (*suite).denied}, {"parameters", (*suite).parameters},
		{"down", (*suite).down}, {"throttled", (*suite).throttled}, {"garbage", (*suite).garbage}, {"failing", (*suite).failing},
		{"slow", (*suite).slow}, {"cancelled", (*suite).cancelled},
		{"concurrent", (*suite).concurrent}, {"own buffers", (*suite).buffers},
		{"batch", (*suite).batch}, {"batch of some that fail", (*suite).batchFailures}, {"batch of a broken store", (*suite).batchBroken},
		{"current version", (*suite).currentVersion},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(&suite{World: open(t), t: t}) })
	}
}
