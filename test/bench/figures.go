package main

import (
	"math"
	"slices"
	"time"
)

// Results is everything that was measured. Each key says its unit.
type Results struct {
	Date         time.Time `json:"date"`
	Version      string    `json:"quaymaster_version"`
	Machine      Machine   `json:"machine"`
	Rounds       int       `json:"rounds"`
	WarmUpRounds int       `json:"warm_up_rounds"`
	Starts       []Start   `json:"starts"`
	GateRounds   int       `json:"gate_rounds"`
	Gate         []Call    `json:"gate"`
	Binaries     []Binary  `json:"binaries"`
	Memory       []Memory  `json:"agent_memory"`
	Fleet        Fleet     `json:"fleet"`
}

// Start is how long the starts of one way took, from the API call to the
// container's first instruction, and what that is compared with plain starts
// in the same network, with the agent in the same state, in the same rounds.
type Start struct {
	Way     string `json:"way"`
	Network string `json:"network"`
	Agent   string `json:"agent"` // running or stopped
	Latency Spread `json:"latency"`
	// Added is the difference to the plain start of the same round; none for
	// the plain ones themselves.
	Added *Difference `json:"added_to_plain,omitempty"`
	// Ratio is the median of these starts over that of the plain ones.
	Ratio     float64   `json:"ratio_of_medians"`
	SamplesMS []float64 `json:"samples_ms"`
}

// Call is what one call of the gate takes, which stands in the engine's own
// runtime's place, beside what that takes when it does nothing.
type Call struct {
	Call   string     `json:"call"`
	Direct Spread     `json:"direct"`
	Gate   Spread     `json:"through_the_gate"`
	Added  Difference `json:"added"`
}

// Difference is a Spread of differences. The true median lies between LowMS
// and HighMS, with 95 % confidence.
type Difference struct {
	Spread
	LowMS  float64 `json:"median_at_least_ms"`
	HighMS float64 `json:"median_at_most_ms"`
}

// Spread is what is said of many samples. Percentiles are samples themselves
// (nearest rank): with fewer than 100 samples P99 is the largest.
type Spread struct {
	MinMS    float64 `json:"min_ms"`
	MedianMS float64 `json:"median_ms"`
	P90MS    float64 `json:"p90_ms"`
	P99MS    float64 `json:"p99_ms"`
	MaxMS    float64 `json:"max_ms"`
}

// Binary is the size of a program that ships, static and stripped.
type Binary struct {
	Name  string `json:"name"`
	Bytes int64  `json:"bytes"`
}

// Memory is the agent's resident memory: now, and the most there ever was.
type Memory struct {
	When        string `json:"when"`
	Containers  int    `json:"labelled_containers"`
	ResidentKiB int64  `json:"resident_kib"`
	PeakKiB     int64  `json:"peak_kib"`
}

// Fleet is what the agent does for many labelled containers at once.
type Fleet struct {
	Containers int `json:"containers"`
	// RotationMS is from the first container whose files were swapped to the
	// last.
	RotationMS float64 `json:"rotation_ms"`
	// IdleProcessorPercent is of one core, over IdleSeconds in which the
	// agent did nothing but read the secrets again when their time came.
	IdleProcessorPercent float64 `json:"idle_processor_percent"`
	IdleSeconds          float64 `json:"idle_seconds"`
}

// compare sums the series of one state of the agent up.
func compare(agent string, all []*series) (starts []Start) {
	for _, s := range all {
		start := Start{Way: s.name, Network: s.network, Agent: agent, Latency: spread(s.samples), Ratio: 1}
		for _, sample := range s.samples {
			start.SamplesMS = append(start.SamplesMS, milliseconds(sample))
		}
		base := all[slices.IndexFunc(all, func(o *series) bool { return o.way == plain && o.network == s.network })]
		if s != base {
			added := difference(s.samples, base.samples)
			start.Added = &added
			start.Ratio = round(start.Latency.MedianMS / spread(base.samples).MedianMS)
		}
		starts = append(starts, start)
	}
	return starts
}

// difference compares the samples of each round. The limits of the median are
// samples: those whose ranks lie as far from the middle as 1.96 standard
// deviations of the number of samples below a median, which is binomial.
func difference(samples, base []time.Duration) Difference {
	differences := make([]time.Duration, len(samples))
	for i := range samples {
		differences[i] = samples[i] - base[i]
	}
	d := Difference{Spread: spread(differences)}
	slices.Sort(differences)
	n := len(differences)
	low := max(0, int(math.Floor(float64(n)/2-1.96*math.Sqrt(float64(n))/2))-1)
	d.LowMS, d.HighMS = milliseconds(differences[low]), milliseconds(differences[n-1-low])
	return d
}

func spread(samples []time.Duration) Spread {
	sorted := slices.Sorted(slices.Values(samples))
	rank := func(share float64) float64 {
		return milliseconds(sorted[max(0, int(math.Ceil(share*float64(len(sorted))))-1)])
	}
	middle := (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2
	return Spread{MinMS: rank(0), MedianMS: milliseconds(middle), P90MS: rank(0.9), P99MS: rank(0.99), MaxMS: rank(1)}
}

// milliseconds keeps microseconds, below which nothing is meant.
func milliseconds(d time.Duration) float64 { return round(float64(d) / float64(time.Millisecond)) }

func round(f float64) float64 { return math.Round(f*1000) / 1000 }
