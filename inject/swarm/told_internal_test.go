package swarm

import (
	"testing"
	"time"
)

func TestTold(t *testing.T) {
	var log told
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var at []time.Duration
	for since := time.Duration(0); since < 5*time.Hour; since += time.Second {
		if log.first("a", begin.Add(since)) {
			at = append(at, since)
		}
	}
	want := []time.Duration{0, 1, 3, 7, 15, 31, 63, 123, 183, 243} // minutes
	if len(at) != len(want) {
		t.Fatalf("told at %v", at)
	}
	for i, minutes := range want {
		if at[i] != minutes*time.Minute {
			t.Errorf("told at %v, want minutes %v", at, want)
		}
	}
	if !log.first("b", begin) {
		t.Error("another thing is not told")
	}
	log.first("c", begin.Add(24*time.Hour))
	if len(log.things) != 1 {
		t.Errorf("%d things are remembered for ever", len(log.things))
	}
}
