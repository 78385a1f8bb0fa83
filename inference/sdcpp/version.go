//go:build cgo && sdcpp

package sdcpp

// #include <stdlib.h>
// #include "shim.h"
import "C"

import (
	"cmp"
	"strings"
	"unsafe"
)

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
		NoGPU:       noGPU(),
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

// copies returns how many copies between host and device calls have made.
func (e *Engine) copies() (in, out int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	var i, o C.int
	C.sdw_copies(e.c, &i, &o)
	return int(i), int(o)
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
	var list []Device
	for i := C.int(0); ; i++ {
		var d C.sdw_device
		if C.sdw_describe_device(i, &d) == 0 {
			return list
		}
		list = append(list, Device{
			Name:        C.GoString(&d.name[0]),
			Description: C.GoString(&d.description[0]),
			GPU:         d.kind == C.SDW_GPU,
			Software:    d.kind == C.SDW_SOFTWARE,
			FreeBytes:   uint64(d.free_bytes),
			TotalBytes:  uint64(d.total_bytes),
		})
	}
}

// found is a device that an engine is to run on.
type found struct {
	number C.int
	cpu    bool
}

// findDevice returns the device that Options.Device names.
func findDevice(name string) (found, error) {
	c := C.CString(cmp.Or(name, "auto"))
	defer C.free(unsafe.Pointer(c))
	var d found
	err := status("open", func(buf *C.char, n C.int) C.sdw_status {
		if d.number = C.sdw_find_device(c, buf, n); d.number < 0 {
			return C.SDW_INVALID
		}
		var info C.sdw_device
		C.sdw_describe_device(d.number, &info)
		d.cpu = info.kind == C.SDW_HOST
		return C.SDW_OK
	})
	return d, err
}
