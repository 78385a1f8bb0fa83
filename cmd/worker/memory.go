package main

import (
	"os"
	"slices"
	"strconv"
	"strings"

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
