package main

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/quaymaster/quaymaster/test/engine"
)

// ms are durations of whole milliseconds.
func ms(values ...int) (out []time.Duration) {
	for _, v := range values {
		out = append(out, time.Duration(v)*time.Millisecond)
	}
	return out
}

// upTo are 1 ms to n ms, the largest first.
func upTo(n int) (out []time.Duration) {
	for v := n; v > 0; v-- {
		out = append(out, ms(v)...)
	}
	return out
}

func TestSpread(t *testing.T) {
	for name, test := range map[string]struct {
		samples []time.Duration
		want    Spread
	}{
		"one":      {ms(7), Spread{7, 7, 7, 7, 7}},
		"even":     {ms(4, 1, 2, 3), Spread{1, 2.5, 4, 4, 4}},
		"hundred":  {upTo(100), Spread{1, 50.5, 90, 99, 100}},
		"sixty":    {upTo(60), Spread{1, 30.5, 54, 60, 60}},
		"negative": {ms(-3, 5, -1), Spread{-3, -1, 5, 5, 5}},
	} {
		if got := spread(test.samples); got != test.want {
			t.Errorf("%s: got %+v, want %+v", name, got, test.want)
		}
	}
}

func TestDifferenceIsPaired(t *testing.T) {
	// Sorted, the two series would differ by 1 ms everywhere.
	d := difference(ms(11, 101, 21), ms(100, 10, 20))
	if d.MinMS != -89 || d.MedianMS != 1 || d.MaxMS != 91 {
		t.Errorf("%+v", d)
	}
}

// TestDifferenceLimitsOfMedian has the ranks that tables of the sign test give
// for 60 and 100 samples.
func TestDifferenceLimitsOfMedian(t *testing.T) {
	for n, want := range map[int][2]float64{1: {1, 1}, 3: {1, 3}, 60: {22, 39}, 100: {40, 61}} {
		d := difference(upTo(n), make([]time.Duration, n))
		if got := [2]float64{d.LowMS, d.HighMS}; got != want {
			t.Errorf("%d samples: %v, want %v", n, got, want)
		}
	}
}

func TestCompareTakesThePlainOneOfTheSameNetwork(t *testing.T) {
	gate := way{name: "gate", runtime: "gate"}
	starts := compare("running", []*series{
		{plain, "none", ms(100, 102)}, {gate, "none", ms(103, 107)},
		{plain, "bridge", ms(200, 200)}, {gate, "bridge", ms(201, 199)},
	})
	if starts[0].Added != nil || starts[2].Added != nil || starts[0].Ratio != 1 {
		t.Errorf("plain is compared with itself: %+v", starts)
	}
	if got := starts[1]; got.Added.MedianMS != 4 || got.Ratio != 1.04 || got.Agent != "running" || len(got.SamplesMS) != 2 {
		t.Errorf("network none: %+v", got)
	}
	if got := starts[3]; got.Added.MedianMS != 0 || got.Ratio != 1 || got.Network != "bridge" {
		t.Errorf("network bridge: %+v", got)
	}
}

// results have large figures everywhere.
func results() Results {
	var all []*series
	for _, w := range ways {
		all = append(all, &series{w, "bridge", ms(1000, 2000)})
	}
	all[1].samples = ms(2000, 1000)
	return Results{
		Date: time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC), Version: "v1.2.3", Rounds: 60, GateRounds: gateRounds,
		Machine: Machine{Processor: "A Processor", Cores: 2, System: "A System", Kernel: "6.1.0", Engine: "20.10.24", Cgroups: "v2"},
		Starts:  compare("running", all),
		Gate: []Call{{"both calls, unlabelled, with arguments", spread(ms(100)), spread(ms(200)),
			difference(ms(200), ms(100))}},
		Binaries: []Binary{{"quaymaster-runtime", 123_456_789}},
		Memory:   []Memory{{"agent started, no container", 500, 40_000, 50_000}},
		Fleet:    Fleet{500, 1000, 0.2, 60},
	}
}

func TestTableFitsAHundredColumns(t *testing.T) {
	var b strings.Builder
	if err := results().print(&b); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(b.String()) {
		line = strings.TrimSuffix(line, "\n")
		if utf8.RuneCountInString(line) > 100 || strings.TrimRight(line, " ") != line {
			t.Errorf("%d columns: %q", utf8.RuneCountInString(line), line)
		}
	}
	for _, want := range []string{
		"p99 is the slowest", "network bridge, agent running", "-1000.0 to +1000.0", "123.46 MB", "39.1 MiB", "1000.00 ms", "0.20 %",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in:\n%s", want, b.String())
		}
	}
}

// TestJSONHasUnits keeps a figure from being written without its unit.
func TestJSONHasUnits(t *testing.T) {
	text, err := json.Marshal(results())
	if err != nil {
		t.Fatal(err)
	}
	var root any
	if err := json.Unmarshal(text, &root); err != nil {
		t.Fatal(err)
	}
	counts := map[string]bool{
		"rounds": true, "warm_up_rounds": true, "gate_rounds": true, "containers": true, "labelled_containers": true,
		"cores": true, "ratio_of_medians": true, "load_average_before": true, "load_average_after": true,
	}
	units := []string{"_ms", "_mib", "_kib", "_percent", "_seconds", "bytes"}
	var walk func(key string, value any)
	walk = func(key string, value any) {
		switch value := value.(type) {
		case map[string]any:
			for k, v := range value {
				walk(k, v)
			}
		case []any:
			for _, v := range value {
				walk(key, v)
			}
		case float64:
			for _, unit := range units {
				if strings.HasSuffix(key, unit) {
					return
				}
			}
			if !counts[key] {
				t.Errorf("%s has no unit", key)
			}
		}
	}
	walk("", root)
}

func TestBothCallsAreOfTheSameRound(t *testing.T) {
	create := &gateCall{name: "create, labelled", direct: ms(1, 2), gate: ms(11, 22)}
	both := create.with(&gateCall{name: "start", direct: ms(3, 4), gate: ms(103, 204)})
	if both.name != "both calls, labelled" || !slices.Equal(both.direct, ms(4, 6)) || !slices.Equal(both.gate, ms(114, 226)) {
		t.Errorf("%+v", both)
	}
}

func TestCheckRefusesAStartThatWentWrong(t *testing.T) {
	nothing := engine.Report{}
	everything := engine.Report{
		Files: map[string]engine.File{"db-password": {}, "token": {}},
		Env:   map[string]engine.Variable{"CACHE_PASSWORD": {}},
	}
	half := engine.Report{Files: everything.Files}
	labelled := way{labelled: true}
	if err := check(everything, labelled); err != nil {
		t.Error(err)
	}
	if err := check(nothing, plain); err != nil {
		t.Error(err)
	}
	for name, err := range map[string]error{
		"nothing was delivered": check(nothing, labelled), "the variable is missing": check(half, labelled),
		"a plain one has secrets": check(everything, plain),
	} {
		if err == nil {
			t.Errorf("accepted: %s", name)
		}
	}
}

func TestRotations(t *testing.T) {
	log := `{"time":"2026-03-01T12:00:00.000000001Z","level":"INFO","msg":"secrets rotated","container":"a"}
{"time":"2026-03-01T12:00:01Z","level":"INFO","msg":"container adopted","container":"secrets rotated"}
{"time":"2026-03-01T12:00:02.5Z","level":"INFO","msg":"secrets rotated","container":"b"}
{"time":"2026-03-01T12:00:03Z","level":"INFO","msg":"secrets rotated"`
	times, err := rotations(log)
	if err != nil || len(times) != 2 || times[1].Sub(times[0]) != 2500*time.Millisecond-1 {
		t.Errorf("%v, %v", times, err)
	}
	if _, err := rotations("secrets rotated, but no JSON\n"); err == nil {
		t.Error("a log in another form was accepted")
	}
}

func TestProcessorTime(t *testing.T) {
	const stat = "123 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 250 50 13 14"
	if got, err := parseProcessorTime([]byte(stat)); err != nil || got != 3*time.Second {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range []string{"", "123 (a) S 1 2", strings.Replace(stat, "250", "x", 1)} {
		if _, err := parseProcessorTime([]byte(bad)); err == nil {
			t.Errorf("accepted: %q", bad)
		}
	}
}

func TestKibibytes(t *testing.T) {
	const status = "Name:\tquaymaster\nVmHWM:\t   20480 kB\nVmRSS:\t   10240 kB\n"
	if got, err := kibibytes(status, "VmRSS"); err != nil || got != 10240 {
		t.Errorf("%d, %v", got, err)
	}
	for _, bad := range []string{"Name:\tVmRSS\n", "VmRSS:\t10240\n", "VmRSS:\tmany kB\n"} {
		if _, err := kibibytes(bad, "VmRSS"); err == nil {
			t.Errorf("accepted: %q", bad)
		}
	}
}

func TestProcessor(t *testing.T) {
	if got := processor("processor\t: 0\nmodel name\t: A: Model\n"); got != "A: Model" {
		t.Error(got)
	}
	if got := processor("processor\t: 0\n"); got == "" {
		t.Error("a processor that does not tell its name has none")
	}
}

func TestOptionsRefuseWhatMeasuresNothing(t *testing.T) {
	good := options{rounds: 1, warmUp: 1, containers: 1}
	if err := good.check(nil); err != nil {
		t.Error(err)
	}
	for name, err := range map[string]error{
		"an argument":   good.check([]string{"60"}),
		"no rounds":     options{warmUp: 1, containers: 1}.check(nil),
		"no warm-up":    options{rounds: 1, containers: 1}.check(nil),
		"no containers": options{rounds: 1, warmUp: 1}.check(nil),
	} {
		if err == nil {
			t.Errorf("accepted: %s", name)
		}
	}
}
