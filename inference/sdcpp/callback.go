//go:build cgo && sdcpp

package sdcpp

// Exported functions live here alone: cgo allows no definitions in the preamble
// of a file that exports.

/*
#include <stdint.h>
*/
import "C"

import (
	"runtime/cgo"
	"strings"
	"sync/atomic"

	"github.com/rs/zerolog"
)

// engineLog is where the engine's process-wide log goes.
var engineLog atomic.Pointer[zerolog.Logger]

// sdwLog receives one log line of the engine, from any thread. A writer that
// panics loses the line: a panic must not unwind through C++ frames.
//
//export sdwLog
func sdwLog(level C.int, text *C.char) {
	defer func() { _ = recover() }()
	log := engineLog.Load()
	if log == nil {
		return
	}
	line := strings.TrimSpace(C.GoString(text))
	if line == "" || strings.Trim(line, ".") == "" {
		return
	}
	log.WithLevel(zerologLevel(int(level))).Str("component", "engine").Msg(line)
}

// zerologLevel maps the engine's levels (debug, info, warn, error). Its info is
// about its own work, and its errors come back to the caller as errors, so both
// are debug here.
func zerologLevel(level int) zerolog.Level {
	if level == 2 {
		return zerolog.WarnLevel
	}
	return zerolog.DebugLevel
}

// sdwProgress hands on how many weights are loaded. A panic waits for Open.
//
//export sdwProgress
func sdwProgress(handle C.uintptr_t, done, total C.int) {
	o := cgo.Handle(handle).Value().(*observer)
	defer func() {
		if p := recover(); p != nil {
			o.panicked = p
		}
	}()
	if o.progress != nil && o.panicked == nil {
		o.progress(int(done), int(total))
	}
}

// observer is what a load's callback reaches through a cgo.Handle.
type observer struct {
	progress func(done, total int)
	panicked any // re-raised by Open
}
