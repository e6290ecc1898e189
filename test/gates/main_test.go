//go:build engines

// Package gates_test tries every gate on every engine that promises are made
// for, in every way in which an engine is set up.
//
// A world is one host: an engine of one kind, in one variant, with a real Vault
// and the agent. Containers are led to each gate in each world, and what became
// of their starts is counted: the first instruction saw everything, or the start
// failed and said why. A third kind of start is counted too, and there must be
// none. TestStorm does so while the agent is killed again and again,
// TestAgentTrouble while something is the matter with it, and TestEngineRestart
// when the engine dies.
//
// At the end the counts are printed as tables, in Markdown, and written as JSON
// where QUAYMASTER_ENGINES_JSON says. docs/compatibility.md holds them.
//
// A further gate is one more of the ways; what does not fit into that (a swarm)
// is a test of its own that makes its world with startWorld and its row with
// world.row.
package gates_test

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	code := m.Run()
	if err := results.publish(os.Stdout, os.Getenv("QUAYMASTER_ENGINES_JSON")); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	if err := goleak.Find(); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// gate is a way in, and how containers are started through it.
type gate struct {
	name string
	try  func(t *testing.T, w *world, r *row)
}

// gates are tried in every world that has them.
func (w *world) gates() (all []gate) {
	for _, y := range ways {
		if y.offered(w) {
			all = append(all, gate{y.name, y.try})
		}
	}
	return append(all, gate{"runtime, compose", runtimeFile.try}, gate{"volume, compose", volumeFile.try})
}

// TestGates is the first promise, on every engine and through every gate.
func TestGates(t *testing.T) {
	for _, s := range settings() {
		t.Run(s.String(), func(t *testing.T) {
			w := startWorld(t, s, basics)
			t.Log(w.about)
			for _, g := range w.gates() {
				t.Run(g.name, func(t *testing.T) { g.try(t, w, w.row(t, g.name)) })
			}
		})
	}
}
