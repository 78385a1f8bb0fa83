package inference_test

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"sdworker/fault"
	"sdworker/inference"
	"sdworker/inference/detect"
	"sdworker/inference/enginetest"
	"sdworker/inference/imageio"
	"sdworker/inference/latent"
	"sdworker/inference/sampler"
)

// company is a pipeline of several jobs on one fake whose UNet calls take time.
type company struct {
	*inference.Pipeline
	t    *testing.T
	mu   sync.Mutex
	fake *enginetest.Fake // opened last
	open int
	wg   sync.WaitGroup

	memory int64 // of the device; 0 = unknown
}

const step = 100 * time.Millisecond

func newCompany(t *testing.T, o inference.PipelineOptions, hooks ...enginetest.Hook) *company {
	t.Helper()
	c := &company{t: t}
	hooks = append([]enginetest.Hook{enginetest.Delay(enginetest.OpPredictNoise, step)}, hooks...)
	c.Pipeline = inference.NewPipeline(func(_ context.Context, checkpoint string, _ func(done, total int)) (inference.Engine, error) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.fake = &enginetest.Fake{Description: inference.EngineInfo{Checkpoint: checkpoint, MemoryBytes: c.memory}, Before: enginetest.Hooks(hooks...), Objects: faces}
		c.open++
		return c.fake, nil
	}, o)
	t.Cleanup(func() {
		require.NoError(t, c.Close())
		if c.fake != nil {
			require.LessOrEqual(t, c.fake.MaxParallel(), 1, "the engine was called by two at once")
		}
	})
	return c
}

// faces are found in every picture.
var faces = []detect.Found{object(8, 8, 23, 23, 0.9)}

// outcome is what became of a request.
type outcome struct {
	res  *inference.Result
	err  error
	done chan struct{} // closed when they are there
}

// start makes the pictures of a request on a goroutine of its own.
func (c *company) start(ctx context.Context, req *inference.Request, hooks inference.Hooks) *outcome {
	out := &outcome{done: make(chan struct{})}
	c.wg.Go(func() {
		defer close(out.done)
		out.res, out.err = c.Generate(ctx, req, hooks)
	})
	synctest.Wait() // so that the order of arrival is known
	return out
}

// rows are those of the UNet calls so far.
func (c *company) rows() (rows []int) {
	for _, call := range c.fake.Calls(enginetest.OpPredictNoise) {
		rows = append(rows, call.UNet.Rows())
	}
	return rows
}

// alone makes the pictures of a request where it has no company.
func alone(t *testing.T, req *inference.Request) []inference.Image {
	t.Helper()
	p := inference.NewPipeline(func(_ context.Context, checkpoint string, _ func(done, total int)) (inference.Engine, error) {
		return &enginetest.Fake{Description: inference.EngineInfo{Checkpoint: checkpoint}, Objects: faces}, nil
	}, inference.PipelineOptions{})
	defer func() { require.NoError(t, p.Close()) }()
	res, err := p.Generate(t.Context(), req, inference.Hooks{})
	require.NoError(t, err)
	return res.Images
}

func requireSame(t *testing.T, want, got []inference.Image) {
	t.Helper()
	require.True(t, reflect.DeepEqual(want, got), "other pictures") // a difference of pixels tells nothing
}

func jobs(n int) inference.PipelineOptions { return inference.PipelineOptions{Jobs: n} }

func TestJobsShareUNetCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCompany(t, jobs(3))
		var outs []*outcome
		var reqs []*inference.Request
		for i := range 3 {
			reqs = append(reqs, txt2img(func(r *inference.Request) { r.Seed, r.Prompt = int64(i), fmt.Sprint("cat ", i) }))
			outs = append(outs, c.start(t.Context(), reqs[i], inference.Hooks{}))
		}
		c.wg.Wait()
		for i, out := range outs {
			require.NoError(t, out.err)
			requireSame(t, alone(t, reqs[i]), out.res.Images)
		}
		rows := c.rows()
		require.Equal(t, 2, rows[0], "the first one had no company yet")
		require.Equal(t, 6, slices.Max(rows))
		require.LessOrEqual(t, len(rows), 6, "four steps each, the others soon beside it: %v", rows)
		status := c.Status()
		require.EqualValues(t, len(rows), status.UNetCalls)
		require.EqualValues(t, 3*4*2, status.UNetRows)
		all := 0
		for _, out := range outs {
			company := out.res.Company
			require.Equal(t, 4, company.Calls, "one for each step")
			all += company.Rows
		}
		squares := 0 // a call of r rows counts for each of its r/2 jobs
		for _, n := range rows {
			squares += n * n / 2
		}
		require.Equal(t, squares, all)
		require.Zero(t, outs[0].res.Company.Wait, "the oldest is served first")
		require.InDelta(t, step.Seconds(), outs[2].res.Company.Wait, 0.5*step.Seconds(), "the youngest has waited for the first call, to have its prompt encoded")
	})
}

func TestWhatDoesNotFitTogetherIsNotTogether(t *testing.T) {
	control := func(r *inference.Request, colour uint8) {
		r.Control = []inference.ControlUnit{{Model: "c", Module: "none", Image: imageio.Fill(64, 48, [3]uint8{colour, 1, 1}), Weight: 1, End: 1, LowRes: true}}
	}
	for name, tc := range map[string]struct {
		change func(*inference.Request)
		share  bool
	}{
		"the same":               {func(*inference.Request) {}, true},
		"another sampler":        {func(r *inference.Request) { r.Sampler, r.CFGScale = "DPM++ 2M", 3 }, true},
		"another size":           {func(r *inference.Request) { r.Width = 128 }, false},
		"seamless":               {func(r *inference.Request) { r.Tiling = true }, false},
		"a longer prompt":        {func(r *inference.Request) { r.Prompt, r.NegativePrompt = long, long }, false},
		"a ControlNet":           {func(r *inference.Request) { control(r, 1) }, false},
		"another checkpoint":     {func(r *inference.Request) { r.Files.Checkpoint = "b" }, false},
		"another VAE":            {func(r *inference.Request) { r.Files.VAE = "v" }, false},
		"a LoRA":                 {func(r *inference.Request) { lora(r, "1") }, false},
		"a LoRA in the hires":    {func(r *inference.Request) { r.Hires, r.Files.LoRAs = hires("<lora:l:1>"), map[string]string{"l": "l"} }, false},
		"the checkpoint itself":  {func(r *inference.Request) { r.Hires = hires("") }, true},
		"a face":                 {func(r *inference.Request) { face(r, "") }, true},
		"a LoRA for a face":      {func(r *inference.Request) { face(r, "<lora:l:1>") }, false},
		"a hypernetwork for one": {func(r *inference.Request) { face(r, "<hypernet:h:1>") }, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCompany(t, jobs(2))
				first, second := txt2img(nil), txt2img(tc.change)
				a := c.start(t.Context(), first, inference.Hooks{})
				b := c.start(t.Context(), second, inference.Hooks{})
				c.wg.Wait()
				require.NoError(t, a.err)
				require.NoError(t, b.err)
				requireSame(t, alone(t, first), a.res.Images)
				requireSame(t, alone(t, second), b.res.Images)
				calls, rows := c.Status().UNetCalls, c.Status().UNetRows
				if tc.share {
					require.Greater(t, rows, 2*calls)
				} else {
					require.Equal(t, 2*calls, rows)
				}
			})
		})
	}
	t.Run("ControlNets with the same picture", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := newCompany(t, jobs(3))
			var outs []*outcome
			reqs := []*inference.Request{txt2img(func(r *inference.Request) { control(r, 1) }), txt2img(func(r *inference.Request) { control(r, 2) }), txt2img(func(r *inference.Request) { control(r, 1); r.Control[0].Weight = 0.5 })}
			for _, req := range reqs {
				outs = append(outs, c.start(t.Context(), req, inference.Hooks{}))
			}
			c.wg.Wait()
			for i, out := range outs {
				require.NoError(t, out.err)
				requireSame(t, alone(t, reqs[i]), out.res.Images)
			}
			shared := 0
			for _, call := range c.fake.Calls(enginetest.OpPredictNoise) {
				if call.UNet.Rows() == 4 {
					shared++
					require.Equal(t, call.UNet.Control[0].Rows[0], 2*call.UNet.Control[0].Rows[2], "each row has its own strength")
				}
			}
			require.Positive(t, shared)
		})
	})
}

// long is a prompt of two chunks.
var long = func() (text string) {
	for range 80 {
		text += "cat "
	}
	return text
}()

func lora(r *inference.Request, strength string) {
	r.Prompt += "<lora:l:" + strength + ">"
	r.Files.LoRAs = map[string]string{"l": "l"}
}

// face asks for a detail.
func face(r *inference.Request, networks string) {
	r.Details = []inference.DetailUnit{unit(func(u *inference.DetailUnit) {
		u.Checkpoint, u.Width, u.Height, u.Prompts = r.Files.Checkpoint, r.Width, r.Height, []string{"a face" + networks}
	})}
	r.Files.LoRAs, r.Files.Hypernets = map[string]string{"l": "l"}, map[string]string{"h": "h"}
}

func hires(prompt string) *inference.Hires {
	return &inference.Hires{Width: 128, Height: 96, Upscaler: "Latent", Sampler: "Euler a", Steps: 2, CFGScale: 7, Prompt: "a cat" + prompt, NegativePrompt: "a dog"}
}

func TestRowsAreBoundedByMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCompany(t, jobs(4))
		// Room for four rows of 8x6 cells, and not for five.
		one := inference.EngineInfo{MemoryBytes: 1}
		for one.UNetRows(8, 6, inference.ChunkTokens, 0, 0) < 4 {
			one.MemoryBytes += 100_000
		}
		c.memory = one.MemoryBytes
		for i := range 4 {
			c.start(t.Context(), txt2img(func(r *inference.Request) { r.Seed = int64(i) }), inference.Hooks{})
		}
		c.wg.Wait()
		require.Equal(t, 4, slices.Max(c.rows()))
	})
}

func TestRowsAreBoundedByCells(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCompany(t, inference.PipelineOptions{Jobs: 4, CallCells: 4 * 8 * 6})
		for i := range 4 {
			c.start(t.Context(), txt2img(func(r *inference.Request) { r.Seed = int64(i) }), inference.Hooks{})
		}
		c.start(t.Context(), txt2img(func(r *inference.Request) { r.BatchSize = 4 }), inference.Hooks{})
		c.wg.Wait()
		for _, call := range c.fake.Calls(enginetest.OpPredictNoise) {
			if rows := call.UNet.Rows(); rows > 4 {
				require.Equal(t, 8, rows, "a batch of its own is not cut")
			}
		}
	})
}

func TestRandomCompanyChangesNoPicture(t *testing.T) {
	samplers := []string{"Euler a", "DPM++ 2M SDE", "Heun", "DDIM", "UniPC", "LCM", "DPM adaptive"}
	random := rand.New(rand.NewPCG(1, 2))
	var reqs []*inference.Request
	for i := range 30 {
		reqs = append(reqs, mixed(random, i, samplers[random.IntN(len(samplers))]))
	}
	var want [][]inference.Image
	for _, req := range reqs {
		want = append(want, alone(t, req))
	}
	for round := range 3 {
		synctest.Test(t, func(t *testing.T) {
			c := newCompany(t, jobs(2+3*round))
			q := inference.NewQueue(c, inference.QueueOptions{Jobs: 2 + 3*round})
			var wg sync.WaitGroup
			for i, req := range reqs {
				pause := time.Duration(random.IntN(3000)) * time.Millisecond
				wg.Go(func() {
					time.Sleep(pause)
					res, err := q.Generate(t.Context(), inference.Job{}, req)
					if assert.NoError(t, err) {
						assert.True(t, reflect.DeepEqual(want[i], res.Images), "request %d is another picture", i)
					}
				})
			}
			wg.Wait()
			status := c.Status()
			require.Greater(t, status.UNetRows, 2*status.UNetCalls, "there was company")
		})
	}
}

// mixed is one of many kinds of requests, with none, some or many of what requests can
// ask for together.
func mixed(random *rand.Rand, i int, name string) *inference.Request {
	some := func(change func(r *inference.Request)) func(*inference.Request) {
		if random.IntN(8) > 0 {
			return func(*inference.Request) {}
		}
		return change
	}
	float := func(most float64) float64 { return math.Round(random.Float64()*most*4) / 4 }
	kinds := []func(*inference.Request){
		func(r *inference.Request) { lora(r, "0.5") },
		func(r *inference.Request) { r.Files.Checkpoint = "b.safetensors" },
		func(r *inference.Request) { r.BatchSize, r.BatchNum = 2, 2 },
		func(r *inference.Request) { r.NegativePrompt = long },
		func(r *inference.Request) { r.Prompt += " AND a dog" },
		func(r *inference.Request) { r.Prompt += " [cat:dog:2]" },
		func(r *inference.Request) {
			r.Prompt += " AND a bird"
			r.Regions = halves("0.5,1", random.IntN(6))
		},
		func(r *inference.Request) { r.Files.VAE = "v" },
		func(r *inference.Request) { r.CFGScale = 1 },
		func(r *inference.Request) { r.Tiling = true },
		func(r *inference.Request) { r.Width = 96 },
		func(r *inference.Request) { r.Settings.ClipSkip = 2 },
		func(r *inference.Request) { r.Settings.SMinUncond = 4 },
		func(r *inference.Request) { r.Settings.StepCache = 0.3 },
		func(r *inference.Request) { r.Settings.CFGRescale = 0.5 },
		func(r *inference.Request) { r.Settings.ZeroStar = true },
		func(r *inference.Request) {
			r.Settings.Projection = sampler.Projection{Enabled: true, Momentum: -0.5, SigmaStart: -1, SigmaEnd: -1}
		},
		func(r *inference.Request) {
			r.Settings.Perturbation = sampler.Perturbation{Scale: 1 + float(2), End: 1}
		},
		func(r *inference.Request) {
			r.Settings.FreeU = inference.TimedFreeU{FreeU: inference.SimpleFreeU(1+random.IntN(2), 1+float(1), 1.4, 0.9, 0.2), End: 0.25 + float(0.75)}
		},
		func(r *inference.Request) {
			r.Prompt += "<hypernet:h:" + strconv.Itoa(1+random.IntN(2)) + ">"
			r.Files.Hypernets = map[string]string{"h": "../formats/hypernet/testdata/hypernet.pt"}
		},
		func(r *inference.Request) {
			r.Refiner = &inference.Refiner{Checkpoint: "b.safetensors", SwitchAt: 0.5, FirstPass: true}
		},
		func(r *inference.Request) { face(r, ""); r.Files.LoRAs = map[string]string{"l": "l"} },
		func(r *inference.Request) { face(r, "<lora:l:1>") },
		func(r *inference.Request) {
			r.Control = []inference.ControlUnit{{Model: "c", Module: "none", Image: gradient(64, 48), Weight: 1 + float(1), End: 0.5 + float(0.5), LowRes: true, HighRes: true}}
		},
		func(r *inference.Request) {
			r.Control = append(r.Control, pictureUnit(func(u *inference.ControlUnit) {
				u.Image, u.Weight, u.End = gradient(16+8*random.IntN(3), 16), 0.5+float(1), 0.5+float(0.5)
			}))
		},
		func(r *inference.Request) {
			if r.Init == nil {
				r.DenoisingStrength, r.Hires = 0.6, hires("")
			}
		},
		func(r *inference.Request) {
			if r.Init != nil {
				r.Init.Mask = &inference.Mask{Image: halfMask(64, 48), Fill: 1 + random.IntN(2), OnlyMasked: random.IntN(2) == 0}
				if soft := latent.DefaultSoft(); random.IntN(2) == 0 {
					soft.Bias, r.Init.Mask.Soft = float(2), &soft
				}
			}
		},
	}
	change := func(r *inference.Request) {
		r.Seed, r.Sampler, r.Steps, r.Prompt = int64(i), name, 2+random.IntN(4), fmt.Sprint("animal ", i%4)
		for _, k := range kinds {
			some(k)(r)
		}
	}
	if random.IntN(4) == 0 {
		return img2img(change)
	}
	return txt2img(change)
}

// FuzzCompany lets jobs of all kinds arrive, be canceled and meet a failing engine at
// random: each ends once, with its own pictures or an error that it was given.
func FuzzCompany(f *testing.F) {
	for seed := range uint64(4) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 1))
			luck := rand.New(rand.NewPCG(seed, 2)) // of the engine, under mu
			var mu sync.Mutex
			trouble := func(_ context.Context, call enginetest.Call) error {
				mu.Lock()
				defer mu.Unlock()
				switch luck.IntN(60) {
				case 0:
					return fault.Errorf(fault.Broken, "unet", "broken")
				case 1:
					return fault.Errorf(fault.Internal, "unet", "a fault")
				case 2, 3:
					if call.Op == enginetest.OpPredictNoise && call.UNet.Rows() > 2 {
						return fault.Errorf(fault.Exhausted, "unet", "out of memory")
					}
				}
				return nil
			}
			limit := 1 + random.IntN(5)
			c := newCompany(t, jobs(limit), trouble)
			q := inference.NewQueue(c, inference.QueueOptions{Jobs: limit})
			samplers := []string{"Euler a", "DPM++ 2M", "Heun"}
			var wg sync.WaitGroup
			for i := range 8 {
				req := mixed(random, i, samplers[random.IntN(len(samplers))])
				want := alone(t, req)
				arrives, leaves := time.Duration(random.IntN(1500))*time.Millisecond, time.Duration(random.IntN(6000))*time.Millisecond
				wg.Go(func() {
					time.Sleep(arrives)
					ctx, cancel := context.WithTimeout(t.Context(), leaves+time.Millisecond)
					defer cancel()
					ends := 0
					res, err := q.Generate(ctx, inference.Job{Observer: func(e inference.Event) {
						if e.Kind == inference.Done {
							ends++
						}
					}}, req)
					assert.Equal(t, 1, ends)
					switch fault.CodeOf(err) {
					case fault.Canceled:
						assert.Error(t, ctx.Err())
					case fault.Broken, fault.Internal, fault.Exhausted:
					default:
						assert.NoError(t, err)
						assert.True(t, reflect.DeepEqual(want, res.Images), "job %d has other pictures", i)
					}
				})
			}
			wg.Wait()
			require.Empty(t, q.IDs())
		})
	})
}

func TestAFailingMemberDoesNotDisturbOthers(t *testing.T) {
	nan := func(prompt float32) enginetest.Hook {
		return func(_ context.Context, call enginetest.Call) error {
			if call.Op != enginetest.OpPredictNoise || call.UNet.Rows() == 0 {
				return nil
			}
			if slices.Contains(call.UNet.Timestep, prompt) {
				return fault.Errorf(fault.Internal, "unet", "a fault of one row")
			}
			return nil
		}
	}
	synctest.Test(t, func(t *testing.T) {
		// The last step of five has a time that no step of four has.
		var times []float32
		probe := newCompany(t, jobs(1))
		probe.start(t.Context(), txt2img(func(r *inference.Request) { r.Steps = 5 }), inference.Hooks{})
		probe.wg.Wait()
		calls := probe.fake.Calls(enginetest.OpPredictNoise)
		times = calls[2].UNet.Timestep
		require.NotEmpty(t, times)

		c := newCompany(t, jobs(3), nan(times[0]))
		good := txt2img(nil)
		a := c.start(t.Context(), good, inference.Hooks{})
		b := c.start(t.Context(), txt2img(func(r *inference.Request) { r.Steps = 5 }), inference.Hooks{})
		d := c.start(t.Context(), good, inference.Hooks{})
		c.wg.Wait()
		require.NoError(t, a.err)
		require.NoError(t, d.err)
		requireSame(t, alone(t, good), a.res.Images)
		requireSame(t, alone(t, good), d.res.Images)
		require.ErrorContains(t, b.err, "a fault of one row")
	})
}

// overflowing is an engine whose UNet gives NaNs for the rows of one prompt.
type overflowing struct {
	*enginetest.Fake
	context []float32 // that the rows begin with
}

func (o overflowing) PredictNoise(ctx context.Context, in inference.UNetInput) ([]float32, error) {
	out, err := o.Fake.PredictNoise(ctx, in)
	for row := range in.Rows() {
		width, size := len(in.Context)/in.Rows(), len(out)/in.Rows()
		if slices.Equal(in.Context[row*width:][:len(o.context)], o.context) {
			for i := range size {
				out[row*size+i] = float32(math.NaN())
			}
		}
	}
	return out, err
}

func TestARowOfNaNsIsItsOwnJobsError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bad, good := txt2img(func(r *inference.Request) { r.Prompt = "an owl" }), txt2img(nil)
		probe := newCompany(t, jobs(1))
		probe.start(t.Context(), bad, inference.Hooks{})
		probe.wg.Wait()
		first := probe.fake.Calls(enginetest.OpPredictNoise)[0].UNet.Context
		fake := &enginetest.Fake{Description: inference.EngineInfo{Checkpoint: good.Files.Checkpoint}, Before: enginetest.Delay(enginetest.OpPredictNoise, step)}
		p := inference.NewPipeline(func(context.Context, string, func(done, total int)) (inference.Engine, error) {
			return overflowing{fake, first[:len(first)/2]}, nil
		}, jobs(3))
		defer p.Close()
		var wg sync.WaitGroup
		var outs [3]outcome
		for i, req := range []*inference.Request{good, bad, good} {
			wg.Go(func() { outs[i].res, outs[i].err = p.Generate(t.Context(), req, inference.Hooks{}) })
			synctest.Wait()
		}
		wg.Wait()
		require.ErrorContains(t, outs[1].err, "NaN")
		for _, i := range []int{0, 2} {
			require.NoError(t, outs[i].err)
			requireSame(t, alone(t, good), outs[i].res.Images)
		}
		shared := slices.ContainsFunc(fake.Calls(enginetest.OpPredictNoise), func(c enginetest.Call) bool { return c.UNet.Rows() > 2 })
		require.True(t, shared)
	})
}

// smallMemory fails calls of more rows than there is room for.
func smallMemory(rows int) enginetest.Hook {
	return func(_ context.Context, call enginetest.Call) error {
		if call.Op == enginetest.OpPredictNoise && call.UNet.Rows() > rows {
			return fault.Errorf(fault.Exhausted, "unet", "out of memory")
		}
		return nil
	}
}

func TestSmallMemorySplitsTheGroupAndIsRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCompany(t, jobs(4), smallMemory(5))
		var outs []*outcome
		for i := range 4 {
			outs = append(outs, c.start(t.Context(), txt2img(func(r *inference.Request) { r.Seed = int64(i) }), inference.Hooks{}))
		}
		c.wg.Wait()
		for i, out := range outs {
			require.NoError(t, out.err)
			requireSame(t, alone(t, txt2img(func(r *inference.Request) { r.Seed = int64(i) })), out.res.Images)
		}
		failed := 0
		for _, rows := range c.rows() {
			if rows > 5 {
				failed++
			}
		}
		require.Equal(t, 1, failed, "one call taught the limit")
	})
}

func TestABrokenEngineCostsTheJobsInHandOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var once sync.Once
		broken := fault.Errorf(fault.Broken, "unet", "the driver is gone")
		c := newCompany(t, jobs(3), func(_ context.Context, call enginetest.Call) (err error) {
			if call.Op == enginetest.OpPredictNoise && call.UNet.Rows() > 2 {
				once.Do(func() { err = broken })
			}
			return err
		})
		var outs []*outcome
		for i := range 3 {
			outs = append(outs, c.start(t.Context(), txt2img(func(r *inference.Request) { r.Seed = int64(i) }), inference.Hooks{}))
		}
		next := c.start(t.Context(), txt2img(nil), inference.Hooks{})
		c.wg.Wait()
		for _, out := range outs {
			require.ErrorIs(t, out.err, broken, "the same honest error for all")
		}
		require.NoError(t, next.err, "which waited for its turn")
		require.Equal(t, 2, c.open)
		requireSame(t, alone(t, txt2img(nil)), next.res.Images)
	})
}

func TestInterruptSkipAndCancelAreEachJobsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCompany(t, jobs(4))
		two := func(r *inference.Request) { r.Steps, r.BatchNum = 8, 2 }
		ctx, cancel := context.WithCancel(t.Context())
		interrupt, skip := inference.NewControl(), inference.NewControl()
		undisturbed := c.start(t.Context(), txt2img(two), inference.Hooks{})
		interrupted := c.start(t.Context(), txt2img(two), inference.Hooks{Control: interrupt})
		skipped := c.start(t.Context(), txt2img(two), inference.Hooks{Control: skip})
		canceled := c.start(ctx, txt2img(two), inference.Hooks{})
		time.Sleep(3*step + step/2)
		interrupt.Interrupt()
		skip.Skip()
		began := time.Now()
		cancel()
		<-canceled.done
		require.Less(t, time.Since(began), step, "within the call in hand")
		c.wg.Wait()
		require.NoError(t, undisturbed.err)
		requireSame(t, alone(t, txt2img(two)), undisturbed.res.Images)
		require.Equal(t, fault.Canceled, fault.CodeOf(canceled.err))
		require.True(t, interrupted.res.Interrupted)
		require.Len(t, interrupted.res.Images, 1)
		require.True(t, skipped.res.Skipped)
		require.Len(t, skipped.res.Images, 2)
		require.Equal(t, alone(t, txt2img(two))[1], skipped.res.Images[1], "the batch after the skipped one")
	})
}

func TestAReplacedFileBeginsANewTurn(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.safetensors")
	write(t, path, "one")
	req := txt2img(func(r *inference.Request) { r.Files.Checkpoint = path })
	old := alone(t, req)
	synctest.Test(t, func(t *testing.T) {
		c := newCompany(t, jobs(4))
		a := c.start(t.Context(), req, inference.Hooks{})
		time.Sleep(step)
		write(t, path, "two")
		b := c.start(t.Context(), req, inference.Hooks{})
		c.wg.Wait()
		require.Equal(t, old, a.res.Images)
		require.NotEqual(t, old, b.res.Images)
		requireSame(t, alone(t, req), b.res.Images)
		require.EqualValues(t, 8, c.Status().UNetCalls, "they shared nothing")
	})
}

func TestOneJobAtATimeNeverShares(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCompany(t, jobs(1))
		a := c.start(t.Context(), txt2img(nil), inference.Hooks{})
		b := c.start(t.Context(), txt2img(nil), inference.Hooks{})
		c.wg.Wait()
		require.Equal(t, []int{2, 2, 2, 2, 2, 2, 2, 2}, c.rows())
		require.Equal(t, a.res.Images, b.res.Images)
		require.InDelta(t, (4 * step).Seconds(), b.res.Timings.Queue, 1e-9, "the second one waited")
	})
}

func TestCloseEndsTheJobsThatWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCompany(t, jobs(1))
		a := c.start(t.Context(), txt2img(nil), inference.Hooks{})
		b := c.start(t.Context(), txt2img(nil), inference.Hooks{})
		require.NoError(t, c.Close())
		c.wg.Wait()
		require.NoError(t, a.err, "it was in hand")
		require.Equal(t, fault.Broken, fault.CodeOf(b.err))
	})
}
