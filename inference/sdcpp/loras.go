//go:build cgo && sdcpp

package sdcpp

// #include "shim.h"
// #include "merge.h"
import "C"

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"unsafe"

	"sdworker/fault"
	"sdworker/formats/embedding"
	"sdworker/formats/safetensors"
	"sdworker/inference"
	"sdworker/inference/clip"
	"sdworker/internal/fileid"
	"sdworker/models"
	"sdworker/models/adapter"
)

// merging is what the engine knows about the weights that adapters change.
type merging struct {
	weights []weight
	touched map[int]bool // those that are not the checkpoint's
	leftOut []fileid.ID  // of the active list, as they were
}

// weight is one parameter that an adapter can change.
type weight struct {
	name   string
	shape  []int64 // slowest axis first
	values int64
	dtype  safetensors.DType // on the device; "" for what adapters cannot change

	// Where the checkpoint stores it unchanged; stored is "" if it does not.
	stored safetensors.DType
	offset int64
}

// SetLoRAs implements inference.LoRAApplier. The weights are computed from the
// checkpoint's each time, so that nothing is left of earlier sets.
func (e *Engine) SetLoRAs(ctx context.Context, loras []inference.LoRA) ([]inference.LoRAReport, error) {
	const op = "set loras"
	if slices.Equal(loras, e.loras) && !slices.ContainsFunc(e.loraFiles, func(s *source) bool { return s.stale }) &&
		!slices.ContainsFunc(e.merging.leftOut, fileid.ID.Replaced) {
		return slices.Clone(e.loraReports), nil
	}
	if e.checkpoint.overwritten() { // weights that an adapter changed come back from it
		e.broken = true
		return nil, changedInUse(op, e.checkpoint)
	}
	files, reports, leftOut := e.openLoRAs(loras)
	var sources []*source
	for _, f := range files {
		sources = append(sources, f.source)
	}
	var failed error
	took := false
	err := e.call(ctx, op, func(buf *C.char, n C.int) C.sdw_status {
		if e.merging.weights == nil {
			if st := e.listWeights(buf, n); st != C.SDW_OK {
				return st
			}
		}
		closeAll(e.loraFiles)
		e.loras, e.loraFiles, e.loraReports = nil, nil, nil // a call that fails takes all of them out
		if failed = e.merge(ctx, loras, files, reports); failed != nil {
			return e.restoreWeights(slices.Collect(maps.Keys(e.merging.touched)), buf, n)
		}
		took = true
		e.loras, e.loraFiles, e.loraReports = slices.Clone(loras), sources, reports
		e.merging.leftOut = leftOut
		return C.SDW_OK
	})
	if err == nil {
		err = failed
	}
	if err == nil && e.checkpoint.overwritten() {
		e.broken = true
		err = changedInUse(op, e.checkpoint)
	}
	for _, s := range sources {
		if s.stale = s.id.Replaced() || s.overwritten(); s.stale && err == nil {
			err = beingWritten(s.id.Path)
		}
	}
	if !took {
		closeAll(sources)
	}
	if err != nil {
		return nil, err
	}
	return slices.Clone(reports), nil
}

func closeAll(list []*source) {
	for _, s := range list {
		s.close()
	}
}

// openLoRA is an adapter file that takes part.
type openLoRA struct {
	*models.OpenedLoRA
	source *source
}

// openLoRAs opens files. A file that cannot be used is left out, with a note in its
// report.
func (e *Engine) openLoRAs(loras []inference.LoRA) (files map[int]openLoRA, reports []inference.LoRAReport, leftOut []fileid.ID) {
	files, reports = map[int]openLoRA{}, make([]inference.LoRAReport, len(loras))
	for i, l := range loras {
		f, err := models.OpenLoRA(l.Path, models.CheckOptions{AllowPickle: e.files.pickle})
		if err != nil {
			reason := err.Error()
			if known, ok := errors.AsType[*fault.Error](err); ok {
				reason = known.Msg
			}
			reports[i].Note = "left out: the file " + strings.TrimPrefix(reason, l.Path+" ")
			id, err := fileid.Stat(l.Path)
			if err != nil {
				id = fileid.ID{Path: l.Path}
			}
			leftOut = append(leftOut, id)
			continue
		}
		files[i] = openLoRA{f, &source{id: fileid.Of(l.Path, f.Stat), file: f.Disk}}
	}
	return files, reports, leftOut
}

// listWeights asks the engine for the weights.
func (e *Engine) listWeights(buf *C.char, n C.int) C.sdw_status {
	var count C.int
	if st := C.sdw_list_weights(e.c, &count, buf, n); st != C.SDW_OK {
		return st
	}
	types := map[C.int32_t]safetensors.DType{C.SDW_F32: safetensors.F32, C.SDW_F16: safetensors.F16, C.SDW_BF16: safetensors.BF16}
	e.merging.touched = map[int]bool{}
	for i := range int(count) {
		var c C.sdw_weight
		C.sdw_weight_info(e.c, C.int(i), &c)
		w := weight{name: C.GoString(&c.name[0]), values: 1, dtype: types[c._type], stored: types[c.stored], offset: int64(c.offset)}
		for d := range int(c.dims) {
			w.shape = append(w.shape, int64(c.ne[d]))
			w.values *= int64(c.ne[d])
		}
		slices.Reverse(w.shape)
		e.merging.weights = append(e.merging.weights, w)
	}
	return C.SDW_OK
}

// restoreWeights brings weights back as they were.
func (e *Engine) restoreWeights(which []int, buf *C.char, n C.int) C.sdw_status {
	if len(which) == 0 {
		return C.SDW_OK
	}
	list := make([]C.int32_t, len(which))
	for i, w := range which {
		list[i] = C.int32_t(w)
	}
	st := C.sdw_restore_weights(e.c, unsafe.SliceData(list), C.int(len(list)), buf, n)
	if st == C.SDW_OK {
		for _, w := range which {
			delete(e.merging.touched, w)
		}
	}
	return st
}

// step is one change of one weight, by the adapter file that makes it.
type step struct {
	file     int
	change   *adapter.Change
	strength float32
}

// task is what is done to one weight, in the order of the tags.
type task struct {
	weight int
	steps  []step
}

// merge computes all weights that files change and restores the others. What does
// not fit is noted in reports.
func (e *Engine) merge(ctx context.Context, loras []inference.LoRA, files map[int]openLoRA, reports []inference.LoRAReport) error {
	for {
		tasks, unused := e.plan(loras, files)
		if err := e.restoreOthers(tasks); err != nil {
			return err
		}
		broken, err := e.runTasks(ctx, tasks, files, unused)
		if err != nil {
			return err
		}
		if len(broken) == 0 {
			for i, f := range files {
				var more []adapter.Unused
				reports[i].Embeddings, more = embeddings(f)
				unused.list[i] = append(unused.list[i], more...)
				reports[i].Note = unused.note(i, f)
			}
			return nil
		}
		for i, err := range broken { // the whole file is left out; the weights that it changed are computed again
			reports[i].Note = "left out: the file " + err.Error()
			delete(files, i)
		}
	}
}

// unused collects what does not fit, by file.
type unused struct {
	mu   sync.Mutex
	list map[int][]adapter.Unused
}

func (u *unused) add(file int, c *adapter.Change, reason string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.list[file] = append(u.list[file], adapter.Unused{Module: c.Module, Reason: reason})
}

func (u *unused) note(file int, f openLoRA) string {
	more := u.list[file]
	required := slices.DeleteFunc(slices.Clone(f.Changes), func(c *adapter.Change) bool { return c.Optional })
	if len(more) > 0 && len(more) == len(required)+len(f.Bundles) {
		return "left out, nothing of it fits this checkpoint: " + f.Summary(more...)
	}
	return f.Summary(more...)
}

// embeddings reads the textual inversions in a file.
func embeddings(f openLoRA) (list []*embedding.Embedding, left []adapter.Unused) {
	for _, name := range slices.Sorted(maps.Keys(f.Bundles)) {
		values, err := f.Bundles[name].Vectors(f, clip.Width)
		var unfit *adapter.UnfitError
		switch {
		case errors.As(err, &unfit):
			left = append(left, adapter.Unused{Module: name, Reason: unfit.Reason})
		case err != nil:
			left = append(left, adapter.Unused{Module: name, Reason: "cannot be read"})
		default:
			list = append(list, &embedding.Embedding{Name: name, Vectors: len(values) / clip.Width, Shape: clip.Width, Values: values})
		}
	}
	return list, left
}

// plan sorts the changes of all files by weight, the largest weights first.
func (e *Engine) plan(loras []inference.LoRA, files map[int]openLoRA) ([]task, *unused) {
	byName := map[string]int{}
	for i, w := range e.merging.weights {
		byName[w.name] = i
	}
	left := &unused{list: map[int][]adapter.Unused{}}
	byWeight := map[int]*task{}
	for file, l := range loras {
		f, ok := files[file]
		if !ok {
			continue
		}
		for _, c := range f.Changes {
			strength := l.UNet
			if c.Text {
				strength = l.TextEncoder
			}
			w, ok := byName[c.Tensor]
			switch {
			case !ok && c.Optional:
			case !ok && strings.HasSuffix(c.Tensor, ".bias"):
				left.add(file, c, "change a bias that the layer does not have")
			case !ok:
				left.add(file, c, "are for layers that this checkpoint does not have")
			case e.merging.weights[w].dtype != safetensors.F16 && e.merging.weights[w].dtype != safetensors.F32:
				left.add(file, c, "are for layers that are stored quantized")
			case strength != 0:
				t := byWeight[w]
				if t == nil {
					t = &task{weight: w}
					byWeight[w] = t
				}
				t.steps = append(t.steps, step{file, c, float32(strength)})
			}
		}
	}
	var tasks []task
	for _, t := range byWeight {
		tasks = append(tasks, *t)
	}
	slices.SortFunc(tasks, func(a, b task) int {
		return cmp.Or(cmp.Compare(e.merging.weights[b.weight].values, e.merging.weights[a.weight].values), cmp.Compare(a.weight, b.weight))
	})
	return tasks, left
}

// restoreOthers brings back the weights that no task computes, and those that a
// task starts from but that the checkpoint does not store unchanged.
func (e *Engine) restoreOthers(tasks []task) error {
	computed := map[int]bool{}
	for _, t := range tasks {
		computed[t.weight] = e.merging.weights[t.weight].stored != ""
	}
	var which []int
	for i := range e.merging.touched {
		if !computed[i] {
			which = append(which, i)
		}
	}
	return status("set loras", func(buf *C.char, n C.int) C.sdw_status { return e.restoreWeights(which, buf, n) })
}

// runTasks computes weights on all of the engine's threads. It returns the files that
// could not be read.
func (e *Engine) runTasks(ctx context.Context, tasks []task, files map[int]openLoRA, left *unused) (broken map[int]error, err error) {
	var (
		next   atomic.Int64
		mu     sync.Mutex // guards what follows
		wait   sync.WaitGroup
		failed error
	)
	broken = map[int]error{}
	stop := func(err error) {
		mu.Lock()
		defer mu.Unlock()
		if failed == nil {
			failed = err
		}
	}
	for _, t := range tasks {
		e.merging.touched[t.weight] = true
	}
	defer spareProcessor(e.workers)()
	for range min(e.workers, len(tasks)) {
		wait.Go(func() {
			var arena adapter.Arena
			for i := next.Add(1) - 1; i < int64(len(tasks)); i = next.Add(1) - 1 {
				if ctx.Err() != nil {
					stop(fault.Stopped(ctx, "set loras"))
					return
				}
				arena.Reset()
				bad, err := e.runTask(tasks[i], files, left, &arena)
				if err != nil {
					stop(err)
					return
				}
				mu.Lock()
				maps.Copy(broken, bad)
				giveUp := failed != nil || len(broken) > 0
				mu.Unlock()
				if giveUp {
					return
				}
			}
		})
	}
	wait.Wait()
	return broken, failed
}

// Rows of a weight are computed in runs: short enough to stay in the processor's
// cache, long enough that the factors are not read too often. The kernel takes 12
// rows at a time.
const (
	runValues = 1 << 16
	runRows   = 12
	minRun    = 24
)

// rowsOfRun is how many rows of a weight are computed at a time.
func rowsOfRun(rows, cols int, steps []prepared) int {
	unit := 1
	for _, s := range steps {
		for n := max(1, s.Rows); unit%n != 0; {
			unit = min(rows, unit*n) // the rows are a multiple of each
		}
	}
	run := max(minRun, runValues/cols/runRows*runRows)
	return min(rows, max(unit, run/unit*unit))
}

// prepared is a step whose factors are in memory.
type prepared struct {
	*adapter.Delta
	step
}

// runTask computes one weight.
func (e *Engine) runTask(t task, files map[int]openLoRA, left *unused, arena *adapter.Arena) (broken map[int]error, err error) {
	w := e.merging.weights[t.weight]
	var steps []prepared
	for _, s := range t.steps {
		d, err := s.change.Prepare(native{}, files[s.file], w.shape, arena)
		var unfit *adapter.UnfitError
		switch {
		case errors.As(err, &unfit):
			if !s.change.Optional {
				left.add(s.file, s.change, unfit.Reason)
			}
			continue
		case err != nil:
			return map[int]error{s.file: unreadable(err)}, nil // it goes on without the file
		}
		steps = append(steps, prepared{d, s})
	}
	rows := int(w.shape[0])
	cols := int(w.values) / rows
	run := rowsOfRun(rows, cols, steps)
	values := arena.Floats(run * cols)
	for from := 0; from < rows; from += run {
		to := min(from+run, rows)
		part := values[:(to-from)*cols]
		if err := e.original(part, w, t.weight, int64(from)*int64(cols), e.checkpoint.file, arena); err != nil {
			return nil, err
		}
		for _, s := range steps {
			if err := s.Apply(part, from, to, s.strength, arena); err != nil {
				return map[int]error{s.file: unreadable(err)}, nil // it goes on without the file
			}
		}
		write := func() bool {
			raw := arena.Bytes(len(part) * int(w.dtype.Size()))
			return bool(C.sdw_write_weight(e.c, C.int(t.weight), floats(part), C.int64_t(from*cols), C.int64_t(len(part)), C.float(largest(w.dtype)), unsafe.Pointer(unsafe.SliceData(raw))))
		}
		if (w.stored != "" || within(part, w.dtype)) && write() { // what only the device has is looked at before it is written over
			continue
		}
		at, err := e.spoiler(t, steps, part, from, to, arena)
		if err != nil {
			return nil, err
		}
		if at >= 0 { // the weight is computed again without the file
			return map[int]error{steps[at].file: fmt.Errorf("makes weights that are no numbers or too large (the first are those of %.100s)", steps[at].change.Module)}, nil
		}
		write()
	}
	return nil, nil
}

func unreadable(err error) error { return fmt.Errorf("cannot be read: %w", err) }

// largest is the largest number of a type.
func largest(t safetensors.DType) float32 {
	if t == safetensors.F16 {
		return 65504
	}
	return math.MaxFloat32
}

// within tells whether a type holds the values.
func within(values []float32, t safetensors.DType) bool {
	return bool(C.sdw_within(floats(values), C.int64_t(len(values)), C.float(largest(t))))
}

// spoiler returns the step after which rows of a weight are no longer within its type,
// -1 if they never were. The rows are computed again, in part.
func (e *Engine) spoiler(t task, steps []prepared, part []float32, from, to int, arena *adapter.Arena) (int, error) {
	w := e.merging.weights[t.weight]
	if err := e.original(part, w, t.weight, int64(from)*int64(len(part)/(to-from)), e.checkpoint.file, arena); err != nil {
		return 0, err
	}
	if !within(part, w.dtype) { // then the checkpoint is to blame
		for _, s := range steps {
			if err := s.Apply(part, from, to, s.strength, arena); err != nil {
				return 0, err
			}
		}
		return -1, nil
	}
	for i, s := range steps {
		if err := s.Apply(part, from, to, s.strength, arena); err != nil {
			return 0, err
		}
		if !within(part, w.dtype) {
			return i, nil
		}
	}
	return -1, nil
}

// original reads values of a weight as the checkpoint has them.
func (e *Engine) original(dst []float32, w weight, index int, first int64, checkpoint io.ReaderAt, arena *adapter.Arena) error {
	if w.stored == "" { // restored before
		raw := arena.Bytes(len(dst) * int(w.dtype.Size()))
		C.sdw_read_weight(e.c, C.int(index), unsafe.Pointer(unsafe.SliceData(raw)), C.size_t(first*w.dtype.Size()), C.size_t(len(raw)))
		return native{}.Decode(dst, raw, w.dtype)
	}
	raw := arena.Bytes(len(dst) * int(w.stored.Size()))
	if _, err := checkpoint.ReadAt(raw, w.offset+first*w.stored.Size()); err != nil {
		return &fault.Error{Code: fault.Broken, Op: "set loras", Msg: fmt.Sprintf("weight %s cannot be read again", w.name), Err: err}
	}
	return native{}.Decode(dst, raw, w.stored)
}

// weightValues returns a weight as it lies on the device.
func (e *Engine) weightValues(name string) ([]float32, error) {
	var out []float32
	err := e.call(context.Background(), "read weight", func(buf *C.char, n C.int) C.sdw_status {
		if e.merging.weights == nil {
			if st := e.listWeights(buf, n); st != C.SDW_OK {
				return st
			}
		}
		for i, w := range e.merging.weights {
			if w.name == name {
				w.stored = ""
				out = make([]float32, w.values)
				_ = e.original(out, w, i, 0, nil, new(adapter.Arena))
			}
		}
		return C.SDW_OK
	})
	return out, err
}
