//go:build cgo && sdcpp

package sdcpp

/*
#cgo CXXFLAGS: -std=c++17 -O2 -DGGML_MAX_NAME=128
#include <stdlib.h>
#include "shim.h"
#include "netgraph.h"
*/
import "C"

import (
	"context"
	"runtime"
	"runtime/cgo"
	"slices"
	"sync"
	"unsafe"

	"sdworker/fault"
	"sdworker/inference"
	"sdworker/inference/footprint"
	"sdworker/internal/fileid"
	"sdworker/models"
	"sdworker/sd1"
)

// abi is the version of shim.h that this file was written for.
const abi = 11

var _ = [1]struct{}{}[C.SDW_ABI-abi] // the header moved: read it, then change abi

// What both sides go by is the same, or this does not compile.
var (
	_ = map[bool]struct{}{false: {}, C.SDW_ABORT_PREFIX == inference.AbortPrefix: {}}
	_ = [1]struct{}{}[C.SDW_TEXT_WIDTH-sd1.TextWidth]
	_ = [1]struct{}{}[C.SDW_CHUNK_TOKENS-sd1.ChunkTokens]
	_ = [1]struct{}{}[C.SDW_VOCABULARY-sd1.Vocabulary]
)

var initialize = sync.OnceFunc(func() {
	C.sdw_init()
	C.sdw_explain_bus_errors()
})

// Engine is one loaded checkpoint.
type Engine struct {
	mu     sync.Mutex // held during a native call
	c      *C.sdw_engine
	thread *thread // makes every native call
	info   inference.EngineInfo

	memory uint64 // bytes of the device
	share  int64  // of the machine's memory, when the device uses that; 0 = all of it
	maps   bool   // weights may be mapped from their files
	tiles  inference.TileMode
	files  checker
	broken bool

	// What is loaded, as the native side has it.
	checkpoint  *source
	vae         *source // nil: the checkpoint's own
	controls    controlSlots
	hypernets   []inference.Hypernet // active in the UNet
	hyperBytes  int64                // of their weights
	taesd       *source
	upscaler    *upscaler
	detectors   []*detector
	prompts     imagePrompts
	loras       []inference.LoRA
	loraFiles   []*source // of those of loras that act
	loraReports []inference.LoRAReport
	merging     merging // of loras
	workers     int     // threads of a call
}

var (
	_ inference.Engine         = (*Engine)(nil)
	_ inference.LoRAApplier    = (*Engine)(nil)
	_ inference.VAESwitcher    = (*Engine)(nil)
	_ inference.PreviewDecoder = (*Engine)(nil)
	_ inference.PixelUpscaler  = (*Engine)(nil)
	_ inference.ObjectDetector = (*Engine)(nil)
	_ inference.ImagePrompter  = (*Engine)(nil)
	_ inference.DepthEstimator = (*Engine)(nil)
	_ inference.FileKeeper     = (*Engine)(nil)
	_ inference.Profiler       = (*Engine)(nil)
)

// Open loads every network of a checkpoint onto a device. It fails with Invalid
// when a file is missing or of the wrong kind, Exhausted when the device has no
// room, and Canceled when ctx has ended.
func Open(ctx context.Context, o Options) (*Engine, error) {
	const op = "open"
	if ctx.Err() != nil {
		return nil, fault.Stopped(ctx, op)
	}
	files := checker{pickle: o.AllowPickle}
	src, err := files.open(o.Checkpoint, models.Checkpoint)
	if err != nil {
		return nil, err
	}
	initialize()
	engineLog.Store(&o.Log)

	device, err := findDevice(o.Device)
	if err != nil {
		return nil, err
	}
	watch := &observer{progress: o.Progress}
	handle := cgo.NewHandle(watch)
	defer handle.Delete()
	checkpoint := src.table()
	defer checkpoint.free()

	var populating sync.WaitGroup
	if device.cpu {
		populating.Go(func() { populate(ctx, o.Checkpoint) })
	}
	defer populating.Wait()
	e := &Engine{checkpoint: src, files: files, tiles: o.Tiles, maps: device.cpu, thread: newThread(), share: o.HostMemory, workers: Threads(o.Threads)}
	options := C.sdw_options{
		device: device.number, threads: C.int(e.workers), attention: attention[o.Attention], gpu_graphs: flag(o.GPUGraphs), progress: C.uintptr_t(handle),
	}
	e.thread.run(func() {
		err = src.named(status(op, func(buf *C.char, n C.int) C.sdw_status { return C.sdw_open(checkpoint.c, options, &e.c, buf, n) }))
	})
	if src.overwritten() {
		err = beingWritten(o.Checkpoint) // whatever came of it
	}
	if watch.panicked != nil {
		e.Close()
		panic(watch.panicked)
	}
	if err != nil {
		e.Close()
		return nil, err
	}
	e.describe(src.model)
	return e, nil
}

func (e *Engine) describe(file *modelFile) {
	checkpoint := file.info
	var c C.sdw_info
	C.sdw_describe(e.c, &c)
	e.memory = uint64(c.device_bytes)
	if c.host_memory != 0 {
		e.memory = hostMemory(e.memory, memoryLimits)
		if e.share > 0 {
			e.memory = min(e.memory, uint64(e.share))
		}
	}
	e.info = inference.EngineInfo{
		Checkpoint:      checkpoint.Path,
		UNetChannels:    int(c.unet_channels),
		NoVAE:           c.has_vae == 0,
		VPrediction:     checkpoint.VPrediction,
		ZeroTerminalSNR: checkpoint.ZeroTerminalSNR,
		Device:          C.GoString(&c.device[0]),
		Backend:         backend,
		GPU:             c.kind == C.SDW_GPU,
		HostMemory:      c.host_memory != 0,
		Fused:           c.fused != 0,
		WeightBytes:     int64(c.weight_bytes),
		MemoryBytes:     int64(e.memory),
		Networks:        networksOf(file.weights, c.kind != C.SDW_HOST),
		EngineVersion:   C.GoString(C.sdw_pin()) + " (" + C.GoString(C.sdw_key()) + ")",
	}
}

// networksOf are the widths of a checkpoint's networks.
func networksOf(weights []models.Weight, gpu bool) footprint.Networks {
	n := footprint.Networks{Pairs: gpu}
	for _, w := range weights {
		switch w.Name {
		case "model.diffusion_model.input_blocks.0.0.bias":
			n.UNetWidth = int(w.Shape[0])
		case "first_stage_model.decoder.norm_out.bias":
			n.DecoderWidth = int(w.Shape[0])
		}
	}
	return n
}

// Info implements inference.Engine.
func (e *Engine) Info() inference.EngineInfo { return e.info }

// EncodeText implements inference.Engine.
func (e *Engine) EncodeText(ctx context.Context, in inference.TextInput) ([]float32, error) {
	if err := in.Check(); err != nil {
		return nil, err
	}
	ids := make([]int32, 0, len(in.Chunks)*inference.ChunkTokens)
	for i := range in.Chunks {
		ids = append(ids, in.Chunks[i][:]...)
	}
	vectors := slices.Concat(in.Vectors...)
	out := make([]float32, len(ids)*inference.TextWidth)
	err := e.call(ctx, "encode text", func(buf *C.char, n C.int) C.sdw_status {
		return C.sdw_text(e.c, C.sdw_text_input{
			n_chunks: C.int(len(in.Chunks)), n_vectors: C.int(len(in.Vectors)), skip: C.int(in.Skip),
			ids: (*C.int32_t)(unsafe.SliceData(ids)), vectors: floats(vectors),
		}, floats(out), buf, n)
	}, e.checkpoint)
	return result(out, err)
}

// PredictNoise implements inference.Engine.
func (e *Engine) PredictNoise(ctx context.Context, in inference.UNetInput) ([]float32, error) {
	if err := in.Check(e.info.UNetChannels); err != nil {
		return nil, err
	}
	rows := in.Rows()
	var controls []string
	need := e.info.Networks.UNet(rows, in.H, in.W, len(in.Context)/rows/inference.TextWidth, len(in.Control), in.ImageTokens())
	for _, u := range in.Control {
		if e.controls.find(u.Model) < 0 && !slices.Contains(controls, u.Model) {
			need += e.info.Networks.ControlWeights()
		}
		controls = append(controls, u.Model)
	}
	e.makeRoom(need, unetGraph|controlGraph, controls)
	out := make([]float32, rows*inference.LatentChannels*in.H*in.W)
	// C gets the struct by value, and the slices in it for the length of the call.
	input := C.sdw_unet_input{
		rows: C.int(rows), channels: C.int(e.info.UNetChannels), h: C.int(in.H), w: C.int(in.W),
		tokens: C.int(len(in.Context) / rows / inference.TextWidth), tiling: flag(in.Tiling),
		latent: floats(in.Latent), timestep: floats(in.Timestep), context: floats(in.Context), perturbed: floats(in.Perturbed),
	}
	if f := in.FreeU; f.Version != 0 {
		input.freeu = C.int(f.Version)
		for i, s := range f.Stages {
			w := s.Window
			input.freeu_stages[i] = C.sdw_freeu_stage{
				backbone: C.float(s.Backbone), from: C.double(w.From), to: C.double(w.To), inverted: flag(w.Inverted), closed: flag(w.Closed),
				low: C.float(s.SkipLow), high: C.float(s.SkipHigh), cutoff: C.double(s.Cutoff),
			}
		}
	}
	images, err := e.imageInputs(in.Images)
	if err != nil {
		return nil, err
	}
	input.images, input.image_tokens = C.int(len(in.Images)), unsafe.SliceData(images.tokens)
	input.image_values, input.image_regions = floats(images.values), floats(images.regions)
	for i, u := range in.Control {
		slot, err := e.control(ctx, u.Model, controls)
		if err != nil {
			return nil, err
		}
		unit := C.sdw_control_unit{slot: C.int(slot), hint: floats(u.Hint), rows: floats(u.Rows), layers: floats(u.Layers), region: floats(u.Region)}
		err = e.call(ctx, "controlnet", func(buf *C.char, n C.int) C.sdw_status {
			return C.sdw_control(e.c, input, unit, flag(i == 0), buf, n)
		}, e.controls.sources[slot])
		if err != nil {
			return nil, err
		}
	}
	err = e.call(ctx, "unet", func(buf *C.char, n C.int) C.sdw_status {
		return C.sdw_unet(e.c, input, flag(len(in.Control) > 0), floats(out), buf, n)
	}, e.checkpoint)
	return result(out, err)
}

// control returns the slot that a ControlNet is in. One that is not loaded may take the
// place of one that the call does not need.
func (e *Engine) control(ctx context.Context, path string, needed []string) (slot int, err error) {
	return e.controls.take(path, needed, func(slot int) error { return e.loadControl(ctx, path, slot) })
}

func (e *Engine) loadControl(ctx context.Context, path string, slot int) error {
	return e.load(ctx, "controlnet", path, models.ControlNet, func(src *source, file *C.sdw_file, buf *C.char, n C.int) C.sdw_status {
		st := C.sdw_load_control(e.c, C.int(slot), file, buf, n)
		if st != C.SDW_OK { // a failure leaves the slot empty
			src = nil
		}
		e.controls.put(slot, src)
		return st
	})
}

// As many slots as a request can have units.
var _ [C.SDW_CONTROLS]struct{} = [inference.MaxControlUnits]struct{}{}

// SetVAE implements inference.VAESwitcher.
func (e *Engine) SetVAE(ctx context.Context, path string) error {
	const op = "set vae"
	if e.vae.is(path) || e.vae == nil && path == "" {
		return nil
	}
	set := func(src *source, file *C.sdw_file, buf *C.char, n C.int) C.sdw_status {
		st := C.sdw_set_vae(e.c, file, buf, n)
		if st == C.SDW_OK {
			e.vae.close()
			e.vae = src
		}
		return st
	}
	if path != "" {
		return e.load(ctx, op, path, models.VAE, set)
	}
	return e.call(ctx, op, func(buf *C.char, n C.int) C.sdw_status { return set(nil, nil, buf, n) })
}

// load opens a model file and has read hand it to the native side. read keeps src
// if, and only if, the native side took the file.
func (e *Engine) load(ctx context.Context, op, path string, kind models.Kind, read func(src *source, file *C.sdw_file, buf *C.char, n C.int) C.sdw_status) error {
	src, err := e.files.open(path, kind)
	if err != nil {
		return err
	}
	file := src.table()
	defer file.free()
	took := false
	err = src.named(e.call(ctx, op, func(buf *C.char, n C.int) C.sdw_status {
		st := read(src, file.c, buf, n)
		took = st == C.SDW_OK
		return st
	}))
	switch {
	case src.overwritten():
		src.stale = true
		err = beingWritten(path)
	case err == nil:
		return nil
	}
	if !took {
		src.close()
	}
	return err
}

// Renew implements inference.FileKeeper.
func (e *Engine) Renew() bool {
	for _, s := range e.sources() {
		s.stale = s.stale || s.id.Replaced() || s.overwritten()
	}
	// What the config says of the weights is asked for when they are read.
	e.checkpoint.stale = e.checkpoint.stale || configOf(e.checkpoint.id.Path) != e.checkpoint.config
	return !e.checkpoint.stale
}

// Files implements inference.FileKeeper.
func (e *Engine) Files() []fileid.ID {
	ids := []fileid.ID{e.checkpoint.id}
	if e.vae != nil {
		ids = append(ids, e.vae.id)
	}
	for _, s := range e.loraFiles {
		ids = append(ids, s.id)
	}
	return ids
}

// sources are all files that something loaded came from.
func (e *Engine) sources() []*source {
	all := append([]*source{e.checkpoint, e.vae, e.taesd}, e.controls.sources[:]...)
	all = append(all, e.loraFiles...)
	if e.upscaler != nil {
		all = append(all, e.upscaler.sources...)
	}
	for _, d := range e.detectors {
		all = append(all, d.src)
	}
	return slices.DeleteFunc(all, func(s *source) bool { return s == nil })
}

// decoder is the file that the VAE in use came from.
func (e *Engine) decoder() *source {
	if e.vae != nil {
		return e.vae
	}
	return e.checkpoint
}

// DecodePreview implements inference.PreviewDecoder.
func (e *Engine) DecodePreview(ctx context.Context, taesd string, latent []float32, h, w int) ([]float32, error) {
	const op = "preview"
	if err := inference.CheckLatent(op, latent, h, w); err != nil {
		return nil, err
	}
	if !e.taesd.is(taesd) {
		err := e.load(ctx, op, taesd, models.Preview, func(src *source, file *C.sdw_file, buf *C.char, n C.int) C.sdw_status {
			st := C.sdw_load_preview(e.c, file, buf, n)
			if st == C.SDW_OK {
				e.taesd.close()
				e.taesd = src
			}
			return st
		})
		if err != nil {
			return nil, err
		}
	}
	out := make([]float32, pixelCount(h, w))
	err := e.call(ctx, op, func(buf *C.char, n C.int) C.sdw_status {
		return C.sdw_preview(e.c, floats(latent), C.int(h), C.int(w), floats(out), buf, n)
	})
	return result(out, err)
}

// Close frees the engine's memory. It waits for a call in progress and does
// nothing the second time.
func (e *Engine) Close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.thread == nil {
		return nil
	}
	e.thread.run(func() {
		if e.upscaler != nil {
			C.sdw_net_close(e.upscaler.graph.c)
		}
		for _, d := range e.detectors {
			C.sdw_net_close(d.graph.c)
		}
		C.sdw_close(e.c)
	})
	e.thread.stop()
	e.c, e.thread = nil, nil
	for _, s := range e.sources() {
		s.close()
	}
	return nil
}

// call runs native code under ctx. When ctx ends first it asks the engine to stop
// and still waits, because C++ may be using our slices until fn returns. If fn
// finished all the same, the call succeeds. Only fn knows what it changed, so it
// keeps the record. uses are the files that the weights of the call are mapped
// from: if somebody wrote into one of them, the result is worthless and the call
// fails.
func (e *Engine) call(ctx context.Context, op string, fn func(*C.char, C.int) C.sdw_status, uses ...*source) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if ctx.Err() != nil {
		return fault.Stopped(ctx, op)
	}
	if e.c == nil {
		return fault.Errorf(fault.Broken, op, "the engine is closed")
	}
	if e.broken {
		return fault.Errorf(fault.Broken, op, "the engine failed before and cannot go on")
	}
	C.sdw_arm(e.c)
	left := make(chan struct{})
	stop := context.AfterFunc(ctx, func() { defer close(left); C.sdw_cancel(e.c) })
	var err error
	e.thread.run(func() { err = status(op, fn) })
	if !stop() {
		<-left // the canceler has let go of e.c, so Close is safe
	}
	if ctx.Err() != nil && fault.CodeOf(err) == fault.Canceled {
		return fault.Stopped(ctx, op)
	}
	for _, s := range uses {
		if e.maps && s.overwritten() {
			err = changedInUse(op, s)
		}
	}
	if fault.CodeOf(err) == fault.Broken {
		e.broken = true
	}
	return err
}

// status runs fn with a buffer for its error text and makes an error of both.
func status(op string, fn func(*C.char, C.int) C.sdw_status) error {
	const size = 1024
	buf := (*C.char)(C.calloc(1, size))
	defer C.free(unsafe.Pointer(buf))
	st := fn(buf, size)
	if st == C.SDW_OK {
		return nil
	}
	return fault.Errorf(codeOf(st), op, "%s", C.GoString(buf))
}

func codeOf(st C.sdw_status) fault.Code {
	switch st {
	case C.SDW_INVALID:
		return fault.Invalid
	case C.SDW_OOM:
		return fault.Exhausted
	case C.SDW_CANCELED:
		return fault.Canceled
	default:
		return fault.Broken
	}
}

func result(out []float32, err error) ([]float32, error) {
	if err != nil {
		return nil, err
	}
	return out, nil
}

// Threads returns n, or the number of physical cores within what the scheduler
// and the container allow: what an engine takes for Options.Threads.
func Threads(n int) int {
	if n > 0 {
		return n
	}
	return max(1, min(int(C.sdw_physical_cores()), runtime.GOMAXPROCS(0)))
}

// attention are the native side's choices.
var attention = map[Attention]C.sdw_attention_kind{
	AttentionAuto: C.SDW_ATTENTION_AUTO, AttentionFused: C.SDW_ATTENTION_FUSED, AttentionPlain: C.SDW_ATTENTION_PLAIN,
}

func floats(s []float32) *C.float { return (*C.float)(unsafe.SliceData(s)) }

func pixelCount(h, w int) int { return 3 * h * w * inference.LatentScale * inference.LatentScale }

func flag(on bool) C.int {
	if on {
		return 1
	}
	return 0
}
