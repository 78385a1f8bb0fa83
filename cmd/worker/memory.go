package main

import (
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"

	"github.com/rs/zerolog"

	"sdworker/inference"
	"sdworker/inference/sdcpp"
)

// memory tells what this process uses and what its GPU, by default the first one, has
// left.
func memory(device string) inference.Memory {
	m := inference.Memory{HostUsed: statusBytes("VmRSS")}
	devices := sdcpp.Devices()
	i := slices.IndexFunc(devices, func(d sdcpp.Device) bool { return strings.EqualFold(d.Name, device) })
	if i < 0 {
		i = slices.IndexFunc(devices, func(d sdcpp.Device) bool { return d.GPU })
	}
	if i >= 0 && (devices[i].GPU || devices[i].Software) {
		m.DeviceFree, m.DeviceTotal = int64(devices[i].FreeBytes), int64(devices[i].TotalBytes)
	}
	return m
}

// gpuMemory is all that a GPU has, in bytes, 0 without one.
func gpuMemory(device string) int64 { return memory(device).DeviceTotal }

// hostMemory is the memory that this process may use, in bytes: its container's
// limit, else that of the machine.
func hostMemory() int64 {
	const machine = "/proc/meminfo"
	limit := int64(4 << 30) // where nothing tells
	if text, err := os.ReadFile(machine); err == nil {
		for line := range strings.Lines(string(text)) {
			if rest, ok := strings.CutPrefix(line, "MemTotal:"); ok {
				kib, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
				limit = kib << 10
			}
		}
	}
	for _, path := range []string{"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"} {
		text, err := os.ReadFile(path)
		if n, parsed := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil && parsed == nil && n > 0 {
			limit = min(limit, n)
		}
	}
	return limit
}

// ownMemory is what the processes take beside requests and networks, in bytes: code, run
// time, stacks of threads, lists of models.
const ownMemory = 384 << 20

// shareMemory settles MEMORY_BUDGET and ENGINE_MEMORY where they were left open, as one
// sum: on a CPU, requests in flight and the networks use the same memory, and the kernel
// ends a process that finds none. The part of an engine is fixed, since a picture must not
// depend on what else is going on.
func shareMemory(e *engineSettings, a *apiSettings, log zerolog.Logger) {
	onCPU := 0
	for _, device := range e.devices() {
		if sdcpp.OnCPU(device) {
			onCPU++
		}
	}
	host := hostMemory()
	a.Memory, e.HostMemory = memoryShares(host, a.Memory, e.HostMemory, onCPU)
	if onCPU > 0 {
		log.Info().Int64("total_mib", host>>20).Int64("requests_mib", a.Memory>>20).Int64("engine_mib", e.HostMemory>>20).Msg("memory is shared")
	}
	if os.Getenv("GOMEMLIMIT") == "" { // or garbage may take as much again as what is in use
		debug.SetMemoryLimit(a.Memory + ownMemory/2)
	}
}

// memoryShares are the bytes of requests and of each of so many engines on the CPU, of
// those that there are; what is not 0 was chosen.
func memoryShares(host, requests, engine int64, onCPU int) (int64, int64) {
	if requests == 0 {
		part := host / 2
		if onCPU > 0 {
			part = host / 4
		}
		requests = max(part, minMemoryBudget)
	}
	if engine == 0 && onCPU > 0 {
		engine = max((host-requests-requests/4-ownMemory)/int64(onCPU), 1) // a quarter: their pictures, while the engine has them
	}
	return requests, engine
}

// statusBytes reads a size from /proc/self/status, such as VmRSS (memory in use)
// or VmHWM (its peak); 0 where there is none.
func statusBytes(name string) int64 {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, name+":"); ok {
			kib, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return kib << 10
		}
	}
	return 0
}
