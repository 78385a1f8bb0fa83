//go:build cgo && cuda

package gpustat

import (
	"bytes"
	"sync"
	"unsafe"

	"github.com/ebitengine/purego"
)

// NVIDIA's own binding (go-nvml) links with --unresolved-symbols, which would hide
// what the engine lacks. These are the functions that are asked, as nvml.h declares
// them; 0 is success. Those that a driver lacks stay nil.
var library struct {
	Init        func() int32
	Count       func(n *uint32) int32
	Handle      func(index uint32, device *uintptr) int32
	Name        func(device uintptr, text *byte, size uint32) int32
	UUID        func(device uintptr, text *byte, size uint32) int32
	Utilization func(device uintptr, rates *[2]uint32) int32 // percent: kernels, memory
	Temperature func(device uintptr, sensor int32, c *uint32) int32
	Power       func(device uintptr, milliwatts *uint32) int32
	Memory      func(device uintptr, bytes *[3]uint64) int32 // total, free, used
}

// started loads and starts the library once. It is not ended: the process reads
// until it ends itself.
var started = sync.OnceValue(func() bool {
	handle, err := purego.Dlopen("libnvidia-ml.so.1", purego.RTLD_NOW|purego.RTLD_LOCAL)
	if err != nil {
		return false
	}
	l := &library
	for symbol, f := range map[string]any{
		"nvmlInit_v2": &l.Init, "nvmlDeviceGetCount_v2": &l.Count, "nvmlDeviceGetHandleByIndex_v2": &l.Handle,
		"nvmlDeviceGetName": &l.Name, "nvmlDeviceGetUUID": &l.UUID, "nvmlDeviceGetUtilizationRates": &l.Utilization,
		"nvmlDeviceGetTemperature": &l.Temperature, "nvmlDeviceGetPowerUsage": &l.Power, "nvmlDeviceGetMemoryInfo": &l.Memory,
	} {
		if at, err := purego.Dlsym(handle, symbol); err == nil {
			purego.RegisterFunc(f, at)
		}
	}
	return l.Init != nil && l.Count != nil && l.Handle != nil && l.Init() == 0
})

// Read lists the GPUs. It gives none where there is no NVIDIA driver.
func Read() []Card {
	if !started() {
		return nil
	}
	var n uint32
	if library.Count(&n) != 0 {
		return nil
	}
	var cards []Card
	for i := range n {
		var device uintptr
		if library.Handle(i, &device) == 0 {
			cards = append(cards, card(int(i), device))
		}
	}
	return cards
}

// card asks for everything; some cards, and parts of one (MIG), do not tell all.
func card(index int, device uintptr) Card {
	l := &library
	c := Card{Index: index, Name: text(l.Name, device), UUID: text(l.UUID, device), Utilization: -1, Celsius: -1, Watts: -1, MemoryUsed: -1, MemoryTotal: -1}
	var rates [2]uint32
	if l.Utilization != nil && l.Utilization(device, &rates) == 0 {
		c.Utilization = float64(rates[0]) / 100
	}
	var n uint32
	if l.Temperature != nil && l.Temperature(device, 0, &n) == 0 {
		c.Celsius = float64(n)
	}
	if l.Power != nil && l.Power(device, &n) == 0 {
		c.Watts = float64(n) / 1000
	}
	var memory [3]uint64
	if l.Memory != nil && l.Memory(device, &memory) == 0 {
		c.MemoryTotal, c.MemoryUsed = int64(memory[0]), int64(memory[2])
	}
	return c
}

// text asks for a text of a card, "" when there is none.
func text(ask func(uintptr, *byte, uint32) int32, device uintptr) string {
	var b [96]byte // what nvml.h says is enough for both
	if ask == nil || ask(device, unsafe.SliceData(b[:]), uint32(len(b))) != 0 {
		return ""
	}
	s, _, _ := bytes.Cut(b[:], []byte{0})
	return string(s)
}
