package workload

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Strategy is what a container wants done after its secrets have changed.
type Strategy struct {
	Kind   StrategyKind
	Signal string // of StrategySignal: its name without SIG, as in HUP
}

// StrategyKind is one way to make a container take up its new secrets.
type StrategyKind string

// The strategies.
const (
	StrategyNone    StrategyKind = "none"    // its files have changed, and that is enough
	StrategySignal  StrategyKind = "signal"  // its first process is sent a signal
	StrategyRestart StrategyKind = "restart" // the container is restarted, and passes its gate again
	StrategyUpdate  StrategyKind = "update"  // of a swarm's service alone: its tasks are replaced, as a rolling update does
)

// parseStrategy reads none, signal:<SIG> or restart.
func parseStrategy(text string) (Strategy, error) {
	kind, argument, hasArgument := strings.Cut(strings.TrimSpace(text), ":")
	switch StrategyKind(kind) {
	case StrategyNone, StrategyRestart:
		if hasArgument {
			return Strategy{}, fmt.Errorf("%s takes no argument: %q", kind, argument)
		}
		return Strategy{Kind: StrategyKind(kind)}, nil
	case StrategySignal:
		signal, err := parseSignal(argument)
		return Strategy{Kind: StrategySignal, Signal: signal}, err
	case "exec", "replace":
		return Strategy{}, fmt.Errorf("%q: this version knows none, signal:<SIG> and restart", kind)
	}
	return Strategy{}, fmt.Errorf("%q is not a strategy; they are none, signal:<SIG> (as in signal:HUP) and restart", text)
}

// signals are Linux's, by number (signal(7), the column of x86 and ARM).
var signals = []string{1: "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM",
	"TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS"}

// realtime is how many signals the engine can count from RTMIN up and from
// RTMAX down (moby/sys/signal), which is half of what the C library leaves.
var realtime = map[string]int{"RTMIN+": 15, "RTMAX-": 14}

// parseSignal reads a signal's name, with or without SIG, or its number, and
// returns its name without SIG.
func parseSignal(text string) (string, error) {
	name := strings.TrimPrefix(strings.ToUpper(text), "SIG")
	if number, err := strconv.Atoi(name); err == nil && name == text && number > 0 && number < len(signals) {
		name = signals[number]
	}
	switch {
	case name == "":
		return "", errors.New("which signal? Write it as in signal:HUP")
	case name == "KILL":
		return "", errors.New("KILL leaves the process no chance to take anything up: use restart, or a signal that it handles")
	case name == "STOP":
		return "", errors.New("STOP halts the process, and nothing would wake it up: use a signal that it handles, such as HUP")
	case slices.Contains(signals, name), isRealtime(name):
		return name, nil
	}
	return "", fmt.Errorf("there is no signal %q: write its name, as in signal:HUP or signal:USR1", text)
}

func isRealtime(name string) bool {
	if name == "RTMIN" || name == "RTMAX" {
		return true
	}
	for base, most := range realtime {
		distance, found := strings.CutPrefix(name, base)
		number, err := strconv.Atoi(distance)
		if found && err == nil && number > 0 && number <= most && strconv.Itoa(number) == distance {
			return true
		}
	}
	return false
}
