//go:build cgo && sdcpp

package sdcpp

// #include "shim.h"
import "C"

import "strings"

// Version describes the build and the devices it sees.
func Version() Build {
	initialize()
	return Build{
		Pin:         C.GoString(C.sdw_pin()),
		Key:         C.GoString(C.sdw_key()),
		GGML:        C.GoString(C.sdw_ggml_version()),
		Backend:     backend,
		CPUFeatures: cpuFeatures(C.GoString(C.sdw_cpu_features())),
		Allocator:   allocator(),
		Devices:     Devices(),
	}
}

// Live returns the number of open engines.
func Live() int { return int(C.sdw_live()) }

// weightsHash digests every weight as it lies on the device.
func (e *Engine) weightsHash() uint64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return uint64(C.sdw_weights_hash(e.c))
}

// nativeHeap returns how many bytes C++ has allocated and not freed.
func nativeHeap() int { return int(C.sdw_heap()) }

// cpuFeatures reads the names set to 1 in the engine's "NAME = 1 | OTHER = 0".
func cpuFeatures(info string) []string {
	var names []string
	for _, field := range strings.FieldsFunc(info, func(r rune) bool { return r == '|' || r == '\n' || r == ',' }) {
		name, value, ok := strings.Cut(field, "=")
		if ok && strings.TrimSpace(value) == "1" {
			names = append(names, strings.TrimSpace(name))
		}
	}
	return names
}

// Devices lists what an Engine can run on, with the memory each has now.
func Devices() []Device {
	initialize()
	const size = 256
	var list []Device
	for i := 0; ; i++ {
		var name, description [size]C.char
		var free, total C.uint64_t
		var gpu C.int
		if C.sdw_device(C.int(i), &name[0], &description[0], size, &free, &total, &gpu) == 0 {
			return list
		}
		list = append(list, Device{
			Name:        C.GoString(&name[0]),
			Description: C.GoString(&description[0]),
			GPU:         gpu != 0,
			FreeBytes:   uint64(free),
			TotalBytes:  uint64(total),
		})
	}
}
