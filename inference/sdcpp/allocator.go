package sdcpp

import (
	"os"
	"strings"
)

// allocator names the malloc implementation of this process by the libraries
// mapped into it.
func allocator() string {
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return "unknown"
	}
	for _, known := range []string{"tcmalloc", "jemalloc", "mimalloc"} {
		if strings.Contains(string(maps), "lib"+known) {
			return known
		}
	}
	if strings.Contains(string(maps), "musl") {
		return "musl"
	}
	return "glibc"
}
