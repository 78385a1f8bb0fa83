package main

import (
	"os"
	"strconv"
	"strings"

	"sdworker/inference"
	"sdworker/inference/sdcpp"
)

// memory tells what this process uses and what the first GPU has left.
func memory() inference.Memory {
	m := inference.Memory{HostUsed: statusBytes("VmRSS")}
	for _, d := range sdcpp.Devices() {
		if d.GPU {
			m.DeviceFree, m.DeviceTotal = int64(d.FreeBytes), int64(d.TotalBytes)
			break
		}
	}
	return m
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
