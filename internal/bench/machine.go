package bench

import (
	"os"
	"runtime"
	"strconv"
	"strings"
)

// Machine is what a figure depends on.
type Machine struct {
	CPU       string `json:"cpu"`
	Cores     int    `json:"cores"` // that this process may use
	MemoryMiB int64  `json:"memory_mib"`
	OS        string `json:"os"`
	Go        string `json:"go"`
	Load      string `json:"load"` // of the last minute, before the measurement
}

// ThisMachine reads the facts.
func ThisMachine() Machine {
	return Machine{
		CPU:       valueOf("/proc/cpuinfo", "model name"),
		Cores:     runtime.GOMAXPROCS(0),
		MemoryMiB: kib(valueOf("/proc/meminfo", "MemTotal")) >> 10,
		OS:        runtime.GOOS + "/" + runtime.GOARCH + " " + firstField("/proc/sys/kernel/osrelease"),
		Go:        runtime.Version(),
		Load:      firstField("/proc/loadavg"),
	}
}

// PeakMemory is the largest memory of this process so far, in bytes.
func PeakMemory() int64 { return kib(valueOf("/proc/self/status", "VmHWM")) << 10 }

// valueOf finds a line "key : value" of a file in /proc.
func valueOf(path, key string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		name, value, ok := strings.Cut(line, ":")
		if ok && strings.TrimSpace(name) == key {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func kib(s string) int64 {
	n, _ := strconv.ParseInt(strings.TrimSuffix(s, " kB"), 10, 64)
	return n
}

func firstField(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	first, _, _ := strings.Cut(strings.TrimSpace(string(text)), " ")
	return first
}
