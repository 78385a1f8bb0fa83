package sdcpp

import (
	"os"
	"strconv"
	"strings"
)

// memoryLimits are where the kernel says how much memory this container may use,
// in cgroup version 2 and 1.
var memoryLimits = []string{"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"}

// hostMemory is what a CPU engine may count on: total bytes of the machine, or
// the container's limit where that is lower.
func hostMemory(total uint64, limits []string) uint64 {
	for _, path := range limits {
		text, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		if limit, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64); err == nil { // "max" is no number
			total = min(total, limit)
		}
	}
	return total
}
