package sdapi

import (
	"bufio"
	"bytes"
	"net/http"
	"os"
	"strconv"
	"strings"

	"sdworker/api/sdapi/pyjson"
)

// memory handles GET /sdapi/v1/memory, in bytes. torch's allocator statistics
// do not exist here; the device's figures fill them.
func (s *Server) memory(*http.Request) (any, error) {
	status := s.cfg.Queue.Generator().Status()
	return pyjson.NewObject("ram", ramUse(status.Memory.HostUsed), "cuda", cudaUse(status.Engine.Backend, status.Memory.DeviceFree, status.Memory.DeviceTotal)), nil
}

func ramUse(used int64) *pyjson.Object {
	total, err := procKB("/proc/meminfo", "MemTotal:")
	if err == nil && used == 0 {
		used, err = procKB("/proc/self/status", "VmRSS:")
	}
	if err != nil {
		return pyjson.NewObject("error", "memory use is known on Linux only")
	}
	return pyjson.NewObject("free", total-used, "used", used, "total", total)
}

func cudaUse(backend string, free, total int64) *pyjson.Object {
	if backend != "cuda" || total == 0 {
		return pyjson.NewObject("error", "unavailable")
	}
	used := total - free
	both := func() *pyjson.Object { return pyjson.NewObject("current", used, "peak", used) }
	return pyjson.NewObject(
		"system", pyjson.NewObject("free", free, "used", used, "total", total),
		"active", both(), "allocated", both(), "reserved", both(),
		"inactive", pyjson.NewObject("current", int64(0), "peak", int64(0)),
		"events", pyjson.NewObject("retries", int64(0), "oom", int64(0)),
	)
}

// procKB reads a line such as "VmRSS:   1234 kB" and returns it in bytes.
func procKB(path, key string) (int64, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	lines := bufio.NewScanner(bytes.NewReader(raw))
	for lines.Scan() {
		if rest, ok := strings.CutPrefix(lines.Text(), key); ok {
			kb, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return kb << 10, err
		}
	}
	return 0, os.ErrNotExist
}
