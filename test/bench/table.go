package main

import (
	"fmt"
	"io"
	"strings"
)

// print writes the results for people, at most 100 columns wide.
func (r Results) print(w io.Writer) error {
	var b strings.Builder
	m := r.Machine
	fmt.Fprintf(&b, "Quaymaster %s on %s\n", r.Version, r.Date.Format("2006-01-02"))
	fmt.Fprintf(&b, "%s, %d cores, %d MiB, %s, Linux %s, load %.2f before and %.2f after\n",
		m.Processor, m.Cores, m.MemoryMiB, m.System, m.Kernel, m.LoadBefore, m.LoadAfter)
	fmt.Fprintf(&b, "Docker Engine %s, runc %s, %s, cgroups %s\n\n", m.Engine, m.Runc, m.StorageDriver, m.Cgroups)
	r.printStarts(&b)
	r.printGate(&b)
	fmt.Fprintf(&b, "\nPrograms, static and stripped (MB = 1,000,000 bytes)\n")
	for _, binary := range r.Binaries {
		fmt.Fprintf(&b, "  %-34s %8.2f MB\n", binary.Name, float64(binary.Bytes)/1e6)
	}
	fmt.Fprintf(&b, "\nMemory of the agent                  containers   resident       peak\n")
	for _, memory := range r.Memory {
		fmt.Fprintf(&b, "  %-34s %10d %6.1f MiB %6.1f MiB\n", memory.When, memory.Containers,
			float64(memory.ResidentKiB)/1024, float64(memory.PeakKiB)/1024)
	}
	f := r.Fleet
	fmt.Fprintf(&b, "\nWith %d labelled containers that run\n", f.Containers)
	fmt.Fprintf(&b, "  %-34s %8.2f ms from the first container to the last\n", "rotation of a secret of all", f.RotationMS)
	fmt.Fprintf(&b, "  %-34s %8.2f %% of one core over %.0f s\n", "agent's processor time, idle", f.IdleProcessorPercent, f.IdleSeconds)
	_, err := io.WriteString(w, b.String())
	return err
}

func (r Results) printStarts(b *strings.Builder) {
	fmt.Fprintf(b, "From the start call to the container's first instruction, in ms; %d rounds", r.Rounds)
	if r.Rounds < 100 {
		b.WriteString(" (p99 is the slowest)")
	}
	b.WriteString("\n\n")
	const header = "%-33s%7s%7s%7s%7s%9s%20s%9s\n"
	fmt.Fprintf(b, header, "", "", "", "", "", "added to", "plain, with", "ratio of")
	fmt.Fprintf(b, header, "", "min", "median", "p90", "p99", "median", "95 % confidence", "medians")
	heading := ""
	for _, s := range r.Starts {
		if now := fmt.Sprintf("network %s, agent %s", s.Network, s.Agent); now != heading {
			heading = now
			fmt.Fprintln(b, heading)
		}
		fmt.Fprintf(b, "  %-31s%7.1f%7.1f%7.1f%7.1f", s.Way, s.Latency.MinMS, s.Latency.MedianMS, s.Latency.P90MS, s.Latency.P99MS)
		if s.Added != nil {
			fmt.Fprintf(b, "%+9.1f%20s%9.3f", s.Added.MedianMS, fmt.Sprintf("%+.1f to %+.1f", s.Added.LowMS, s.Added.HighMS), s.Ratio)
		}
		b.WriteString("\n")
	}
}

func (r Results) printGate(b *strings.Builder) {
	fmt.Fprintf(b, "\nThe gate by itself: its calls in one start beside a runtime that does nothing, in ms; %d rounds\n\n", r.GateRounds)
	const header = "%-43s%9s%9s%10s%18s%9s\n"
	fmt.Fprintf(b, header, "", "direct", "gate", "added", "added, with", "added")
	fmt.Fprintf(b, header, "", "median", "median", "median", "95 % confidence", "p99")
	for _, c := range r.Gate {
		fmt.Fprintf(b, "  %-41s%9.2f%9.2f%+10.2f%18s%+9.2f\n", c.Call, c.Direct.MedianMS, c.Gate.MedianMS, c.Added.MedianMS,
			fmt.Sprintf("%+.2f to %+.2f", c.Added.LowMS, c.Added.HighMS), c.Added.P99MS)
	}
}
