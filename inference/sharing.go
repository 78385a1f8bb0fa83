package inference

import (
	"context"
	"slices"
	"sync"
	"time"

	"sdworker/fault"
)

// unetCall is the call of one job on its way through the engine.
type unetCall struct {
	in  UNetInput
	out []float32
	err error

	began time.Time // of the call that gave out
	rows  int       // in it, those of others included; 0 without one
}

// sharing decides which UNet calls of several jobs are done as one, and does them.
type sharing struct {
	jobs  int      // that may be together; 1 = none
	cells int      // latent cells of all rows of a call together, as far as it is shared
	count *counter // of calls; may be nil
	info  EngineInfo

	mu   sync.Mutex
	rows map[shape]int // most rows of a shared call, where memory has shown a limit
}

// shape is what the memory of a row depends on.
type shape struct {
	h, w, controls    int
	context           int // floats of a row
	tiling, perturbed bool
	freeU             FreeU
	images            [MaxControlUnits]int // tokens of the pictures that cross attention sees
}

func shapeOf(in *UNetInput) shape {
	s := shape{
		h: in.H, w: in.W, controls: len(in.Control), context: len(in.Context) / in.Rows(),
		tiling: in.Tiling, perturbed: in.Perturbed != nil, freeU: in.FreeU,
	}
	for i, m := range in.Images {
		s.images[i] = m.Tokens
	}
	return s
}

func (s shape) imageTokens() (n int) {
	for _, tokens := range s.images {
		n += tokens
	}
	return n
}

// group chooses the calls that go along with the first one. Contexts of other lengths
// are left out: to pad them would change pictures.
func (s *sharing) group(waiting []*unetCall) []int {
	chosen := []int{0}
	if s.jobs <= 1 {
		return chosen
	}
	first := &waiting[0].in
	limit := s.limit(shapeOf(first))
	rows := first.Rows()
	for i, c := range waiting[1:] {
		if rows+c.in.Rows() <= limit && alike(first, &c.in) {
			rows += c.in.Rows()
			chosen = append(chosen, i+1)
		}
	}
	return chosen
}

// limit is the most rows of a shared call.
func (s *sharing) limit(of shape) int {
	limit := min(s.cells/(of.h*of.w), s.info.UNetRows(of.h, of.w, of.context/TextWidth, of.controls, of.imageTokens()))
	s.mu.Lock()
	defer s.mu.Unlock()
	if known, ok := s.rows[of]; ok {
		limit = min(limit, known)
	}
	return limit
}

// learn notes that memory had no room for so many rows.
func (s *sharing) learn(of shape, rows int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.rows == nil {
		s.rows = map[shape]int{}
	}
	if known, ok := s.rows[of]; !ok || rows/2 < known {
		s.rows[of] = rows / 2
	}
}

// alike reports whether two calls can be one: the engine takes a time step, a context,
// control strengths and what is seen of pictures for each row, and everything else once.
func alike(a, b *UNetInput) bool {
	return shapeOf(a) == shapeOf(b) && slices.EqualFunc(a.Images, b.Images, func(a, b ImageInput) bool {
		return len(a.Values[0]) == len(b.Values[0]) && slices.Equal(a.Region, b.Region)
	}) && slices.EqualFunc(a.Control, b.Control, func(a, b ControlInput) bool {
		return a.Model == b.Model && slices.Equal(a.Layers, b.Layers) && slices.Equal(a.Region, b.Region) && slices.Equal(a.Hint, b.Hint)
	})
}

// run does calls as one. If that fails they are done again in halves, so that a
// call which is wrong, or too large for the memory, does not fail the others. If
// the engine is broken, all of them fail.
func (s *sharing) run(ctx context.Context, m *model, calls []*unetCall) {
	err := m.failure()
	if err == nil {
		for _, c := range calls {
			c.began, c.rows = time.Now(), rowsOf(calls)
		}
		var out []float32
		out, err = m.eng.PredictNoise(ctx, joined(calls))
		s.count.add(calls)
		if m.note(err) == nil {
			share(calls, out)
			return
		}
	}
	code := fault.CodeOf(err)
	if len(calls) == 1 || code == fault.Broken || code == fault.Canceled {
		for _, c := range calls {
			c.err = err
		}
		return
	}
	if code == fault.Exhausted {
		s.learn(shapeOf(&calls[0].in), rowsOf(calls))
	}
	s.run(ctx, m, calls[:len(calls)/2])
	s.run(ctx, m, calls[len(calls)/2:])
}

// joined is the input of several calls.
func joined(calls []*unetCall) UNetInput {
	in := calls[0].in
	if len(calls) == 1 {
		return in
	}
	var latents, contexts, steps [][]float32
	for _, c := range calls {
		latents, contexts, steps = append(latents, c.in.Latent), append(contexts, c.in.Context), append(steps, c.in.Timestep)
	}
	in.Latent, in.Context, in.Timestep = slices.Concat(latents...), slices.Concat(contexts...), slices.Concat(steps...)
	if in.Perturbed != nil {
		in.Perturbed = nil
		for _, c := range calls {
			in.Perturbed = append(in.Perturbed, c.in.Perturbed...)
		}
	}
	in.Control = slices.Clone(in.Control)
	for i := range in.Control {
		var rows []float32
		for _, c := range calls {
			rows = append(rows, c.in.Control[i].Rows...)
		}
		in.Control[i].Rows = rows
	}
	in.Images = slices.Clone(in.Images)
	for i := range in.Images {
		var values [][]float32
		for _, c := range calls {
			values = append(values, c.in.Images[i].Values...)
		}
		in.Images[i].Values = values
	}
	return in
}

// share gives each call its rows of an output.
func share(calls []*unetCall, out []float32) {
	size := len(out) / rowsOf(calls)
	for _, c := range calls {
		n := size * c.in.Rows()
		c.out, c.err, out = out[:n:n], nil, out[n:]
	}
}

func rowsOf(calls []*unetCall) (n int) {
	for _, c := range calls {
		n += c.in.Rows()
	}
	return n
}

// counter counts what a pipeline does. It is safe for concurrent use.
type counter struct {
	mu                 sync.Mutex
	calls, rows        int64 // of the UNet
	loads              int64 // of checkpoints
	checkpoint, prompt CacheCount
}

func (c *counter) add(calls []*unetCall) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls++
	c.rows += int64(rowsOf(calls))
}

// looked counts what was looked for in a cache of c.
func (c *counter) looked(cache *CacheCount, hit bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if hit {
		cache.Hits++
	} else {
		cache.Misses++
	}
}

func (c *counter) loaded() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.loads++
}

// tell writes the counts into a status.
func (c *counter) tell(s *Status) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s.UNetCalls, s.UNetRows, s.ModelLoads = c.calls, c.rows, c.loads
	checkpoint, prompt := c.checkpoint, c.prompt
	checkpoint.Name, prompt.Name = "checkpoint", "prompt"
	s.Caches = []CacheCount{checkpoint, prompt}
}
