package main

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"

	"github.com/docker/docker/client"
)

// Machine is what the figures are of, in words.
type Machine struct {
	Processor     string `json:"processor"`
	Cores         int    `json:"cores"`
	MemoryMiB     int64  `json:"memory_mib"`
	Kernel        string `json:"kernel"`
	System        string `json:"operating_system"`
	Engine        string `json:"engine"`
	Runc          string `json:"runc"`
	StorageDriver string `json:"storage_driver"`
	Cgroups       string `json:"cgroups"`
	// Load of the last minute: what else ran. The bench itself makes about one.
	LoadBefore float64 `json:"load_average_before"`
	LoadAfter  float64 `json:"load_average_after"`
}

func describeMachine(ctx context.Context, engine *client.Client) (Machine, error) {
	info, err := engine.Info(ctx)
	if err != nil {
		return Machine{}, fmt.Errorf("ask the engine what it is: %w", err)
	}
	processors, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return Machine{}, fmt.Errorf("learn the processor: %w", err)
	}
	m := Machine{
		Processor: processor(string(processors)), Cores: runtime.NumCPU(), MemoryMiB: info.MemTotal >> 20,
		Kernel: info.KernelVersion, System: info.OperatingSystem,
		Engine: info.ServerVersion, Runc: info.RuncCommit.ID, StorageDriver: info.Driver, Cgroups: "v" + info.CgroupVersion,
	}
	m.LoadBefore, err = load()
	return m, err
}

// processor is the model's name, which only some architectures tell.
func processor(cpuinfo string) string {
	for line := range strings.Lines(cpuinfo) {
		if key, value, found := strings.Cut(line, ":"); found && strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

// load is the first figure of /proc/loadavg: the average of the last minute.
func load() (float64, error) {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 0, fmt.Errorf("read the load average: %w", err)
	}
	first, _, _ := strings.Cut(string(text), " ")
	value, err := strconv.ParseFloat(first, 64)
	if err != nil {
		return 0, fmt.Errorf("read the load average: %w", err)
	}
	return value, nil
}

// kibibytes reads one line of proc(5)'s status: "VmRSS:     1234 kB".
func kibibytes(status, name string) (int64, error) {
	for line := range strings.Lines(status) {
		if fields := strings.Fields(line); len(fields) == 3 && fields[0] == name+":" && fields[2] == "kB" {
			return strconv.ParseInt(fields[1], 10, 64)
		}
	}
	return 0, fmt.Errorf("no %s in the status of the process", name)
}

func lastWord(text string) string {
	words := strings.Fields(text)
	if len(words) == 0 {
		return ""
	}
	return words[len(words)-1]
}
