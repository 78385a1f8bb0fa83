package remote_test

import (
	"context"
	"net"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"sdworker/fault"
	"sdworker/inference"
	"sdworker/inference/enginetest"
	"sdworker/inference/imageio"
	"sdworker/inference/remote"
)

// fakePipeline is a Pipeline on fake engines whose steps take a few
// milliseconds, so that there is time to end a job between them.
func fakePipeline() *inference.Pipeline {
	open := func(_ context.Context, checkpoint string, _ func(done, total int)) (inference.Engine, error) {
		if checkpoint == "missing" {
			return nil, fault.Errorf(fault.NotFound, "open", "no such checkpoint")
		}
		return &enginetest.Fake{
			Description: inference.EngineInfo{Checkpoint: checkpoint},
			Before: enginetest.Hooks(
				enginetest.Delay(enginetest.OpPredictNoise, 3*time.Millisecond),
				enginetest.Delay(enginetest.OpSetLoRAs, 3*time.Millisecond),
				lateSuccess(enginetest.OpSetVAE, 3*time.Millisecond),
			),
		}, nil
	}
	return inference.NewPipeline(open, inference.PipelineOptions{Jobs: 4})
}

// lateSuccess returns a hook that makes calls take d, whether or not their context
// ends meanwhile, as the load of a VAE does.
func lateSuccess(op enginetest.Op, d time.Duration) enginetest.Hook {
	return func(_ context.Context, c enginetest.Call) error {
		if c.Op == op {
			time.Sleep(d)
		}
		return nil
	}
}

// generators are all ways to run a Pipeline; they must not be told apart.
var generators = []struct {
	name string
	open func(t *testing.T) inference.Generator
}{
	{"in process", func(*testing.T) inference.Generator { return fakePipeline() }},
	{"behind Serve", func(t *testing.T) inference.Generator {
		t.Helper()
		return start(t, command("pipeline"))
	}},
}

func TestGenerators(t *testing.T) {
	for _, g := range generators {
		t.Run(g.name, func(t *testing.T) {
			for _, tc := range conformance {
				t.Run(tc.name, func(t *testing.T) {
					gen := g.open(t)
					defer gen.Close()
					tc.check(t, gen)
				})
			}
		})
	}
}

func picture(steps, images int) *inference.Request {
	return &inference.Request{
		Prompt: "a lovely cat", Seed: 7, Sampler: "Euler a", Steps: steps, CFGScale: 7, Width: 64, Height: 64,
		BatchSize: 1, BatchNum: images, Files: inference.Files{Checkpoint: "good"}, Settings: inference.DefaultSettings(),
	}
}

var conformance = []struct {
	name  string
	check func(t *testing.T, gen inference.Generator)
}{
	{"pictures are those of the process itself", func(t *testing.T, gen inference.Generator) {
		own := fakePipeline()
		defer own.Close()
		req := picture(4, 3)
		want, err := own.Generate(deadline(t), req, inference.Hooks{})
		require.NoError(t, err)
		got, err := gen.Generate(deadline(t), req, inference.Hooks{})
		require.NoError(t, err)
		require.Len(t, got.Images, 3)
		require.Equal(t, want.Images, got.Images)
		want.Images, got.Images = nil, nil
		want.Timings, got.Timings = inference.Timings{}, inference.Timings{}
		want.Company.Wait, got.Company.Wait = 0, 0
		require.Equal(t, want, got)
	}},
	{"progress goes through the phases", func(t *testing.T, gen inference.Generator) {
		var phases []inference.Phase
		var last inference.Progress
		_, err := gen.Generate(deadline(t), picture(4, 1), inference.Hooks{Progress: func(p inference.Progress) {
			if len(phases) == 0 || phases[len(phases)-1] != p.Phase {
				phases = append(phases, p.Phase)
			}
			if p.Phase == inference.PhaseSampling {
				last = p
			}
		}})
		require.NoError(t, err)
		require.Equal(t, []inference.Phase{
			inference.PhaseLoading, inference.PhaseEncoding, inference.PhaseSampling, inference.PhaseDecoding,
		}, phases)
		require.Equal(t, 4, last.Step)
		require.Equal(t, 4, last.Steps)
	}},
	{"previews arrive", func(t *testing.T, gen inference.Generator) {
		req := picture(6, 1)
		req.Preview = inference.Preview{Every: 2, Method: "approx"}
		previews := 0
		_, err := gen.Generate(deadline(t), req, inference.Hooks{Progress: func(p inference.Progress) {
			if p.Preview != nil {
				previews++
				require.Len(t, p.Preview.Pix, 3*p.Preview.W*p.Preview.H)
			}
		}})
		require.NoError(t, err)
		require.Positive(t, previews)
	}},
	{"a context that ends stops the job without pictures", func(t *testing.T, gen inference.Generator) {
		ctx, cancel := context.WithCancel(deadline(t))
		res, err := gen.Generate(ctx, picture(1000, 1), inference.Hooks{Progress: func(p inference.Progress) {
			if p.Phase == inference.PhaseSampling && p.Step == 2 {
				cancel()
			}
		}})
		require.Equal(t, fault.Canceled, fault.CodeOf(err))
		require.Nil(t, res)
		_, err = gen.Generate(deadline(t), picture(2, 1), inference.Hooks{})
		require.NoError(t, err)
	}},
	{"a canceled job leaves nothing to the next one", func(t *testing.T, gen inference.Generator) {
		for name, change := range map[string]func(*inference.Request){
			"vae": func(r *inference.Request) { r.Files.VAE = "other.vae" },
			"lora": func(r *inference.Request) {
				r.Prompt += " <lora:style:1>"
				r.Files.LoRAs = map[string]string{"style": "style.safetensors"}
			},
			"controlnet": func(r *inference.Request) {
				r.Control = []inference.ControlUnit{{
					Model: "canny", Module: "none", Image: imageio.Fill(64, 64, [3]uint8{200, 20, 90}), Weight: 1, End: 1, LowRes: true, HighRes: true,
				}}
			},
			"checkpoint": func(r *inference.Request) { r.Files.Checkpoint = "other" },
		} {
			plain, other := picture(2, 1), picture(2, 1)
			change(other)
			want := map[*inference.Request][]inference.Image{}
			var took time.Duration
			for _, req := range []*inference.Request{plain, other} {
				began := time.Now()
				res, err := gen.Generate(deadline(t), req, inference.Hooks{})
				require.NoError(t, err, name)
				took = time.Since(began)
				want[req] = res.Images
			}
			require.False(t, reflect.DeepEqual(want[plain], want[other]), name)
			requireImages := func(req *inference.Request, what string) {
				res, err := gen.Generate(deadline(t), req, inference.Hooks{})
				require.NoError(t, err, name)
				require.True(t, reflect.DeepEqual(want[req], res.Images), "%s, %s", name, what)
			}
			const moments = 12
			for i := range moments {
				before, canceled, after := plain, other, plain
				if i%2 == 1 {
					before, canceled = other, plain
				}
				if i%4 > 1 {
					after = other
				}
				requireImages(before, "before")
				ctx, cancel := context.WithTimeout(t.Context(), took*time.Duration(i)/moments)
				_, err := gen.Generate(ctx, canceled, inference.Hooks{})
				cancel()
				if err != nil {
					require.Equal(t, fault.Canceled, fault.CodeOf(err), "%s: %v", name, err)
				}
				requireImages(after, "after a job that was canceled")
			}
		}
	}},
	{"jobs at the same time are each their own", func(t *testing.T, gen inference.Generator) {
		q := inference.NewQueue(gen, inference.QueueOptions{Jobs: 4})
		reqs := make([]*inference.Request, 8)
		outs := make([]*inference.Result, len(reqs))
		var wg sync.WaitGroup
		for i := range reqs {
			reqs[i] = picture(6, 1)
			reqs[i].Seed = int64(i)
			if i%3 == 2 {
				reqs[i].Files.Checkpoint = "other"
			}
			wg.Go(func() {
				res, err := q.Generate(deadline(t), inference.Job{}, reqs[i])
				assert.NoError(t, err)
				outs[i] = res
			})
		}
		wg.Wait()
		own := fakePipeline()
		defer own.Close()
		for i, req := range reqs {
			want, err := own.Generate(deadline(t), req, inference.Hooks{})
			require.NoError(t, err)
			require.True(t, reflect.DeepEqual(want.Images, outs[i].Images), "job %d", i)
		}
		status := gen.Status()
		require.Greater(t, status.UNetRows, 2*status.UNetCalls, "they shared calls")
	}},
	{"an ended context starts nothing", func(t *testing.T, gen inference.Generator) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := gen.Generate(ctx, picture(2, 1), inference.Hooks{})
		require.Equal(t, fault.Canceled, fault.CodeOf(err))
	}},
	{"interrupt finishes with what exists", func(t *testing.T, gen inference.Generator) {
		control := inference.NewControl()
		res, err := gen.Generate(deadline(t), picture(1000, 2), inference.Hooks{Control: control, Progress: func(p inference.Progress) {
			if p.Phase == inference.PhaseSampling && p.Step == 2 {
				control.Interrupt()
			}
		}})
		require.NoError(t, err)
		require.True(t, res.Interrupted)
		require.Len(t, res.Images, 1)
	}},
	{"an interrupt before the start counts", func(t *testing.T, gen inference.Generator) {
		control := inference.NewControl()
		control.Interrupt()
		steps := 0
		res, err := gen.Generate(deadline(t), picture(1000, 5), inference.Hooks{Control: control, Progress: func(p inference.Progress) { steps = max(steps, p.Step) }})
		require.NoError(t, err)
		require.True(t, res.Interrupted)
		require.LessOrEqual(t, steps, 1)
	}},
	{"skip goes on with the next batch", func(t *testing.T, gen inference.Generator) {
		control := inference.NewControl()
		skipped := false
		res, err := gen.Generate(deadline(t), picture(100, 2), inference.Hooks{Control: control, Progress: func(p inference.Progress) {
			if p.Phase == inference.PhaseSampling && p.Step == 2 && !skipped {
				skipped = true
				control.Skip()
			}
		}})
		require.NoError(t, err)
		require.True(t, res.Skipped)
		require.Len(t, res.Images, 2)
	}},
	{"a wrong request is refused with its field", func(t *testing.T, gen inference.Generator) {
		req := picture(4, 1)
		req.Width = 65
		_, err := gen.Generate(deadline(t), req, inference.Hooks{})
		require.Equal(t, fault.Invalid, fault.CodeOf(err))
	}},
	{"load, status, unload", func(t *testing.T, gen inference.Generator) {
		require.NoError(t, gen.Load(deadline(t), inference.Files{Checkpoint: "good"}, inference.Hooks{}))
		require.True(t, gen.Status().Ready)
		require.Equal(t, "good", gen.Status().Engine.Checkpoint)

		err := gen.Load(deadline(t), inference.Files{Checkpoint: "missing"}, inference.Hooks{})
		require.Equal(t, fault.NotFound, fault.CodeOf(err))
		require.Equal(t, "good", gen.Status().Engine.Checkpoint)
		require.Contains(t, gen.Status().Err, "no such checkpoint")

		require.NoError(t, gen.Load(deadline(t), inference.Files{Checkpoint: "other"}, inference.Hooks{}))
		require.Equal(t, "other", gen.Status().Engine.Checkpoint)
		require.Empty(t, gen.Status().Err)

		require.NoError(t, gen.Unload(deadline(t)))
		require.Empty(t, gen.Status().Engine.Checkpoint)
		_, err = gen.Generate(deadline(t), picture(2, 1), inference.Hooks{})
		require.NoError(t, err)
		require.Equal(t, "good", gen.Status().Engine.Checkpoint)
	}},
	{"upscale", func(t *testing.T, gen inference.Generator) {
		out, err := gen.Upscale(deadline(t), &inference.UpscaleRequest{
			Image: imageio.Fill(40, 24, [3]uint8{10, 20, 30}), Upscaler: "Nearest", Scale: 2,
		}, inference.Hooks{})
		require.NoError(t, err)
		require.Equal(t, imageio.Fill(80, 48, [3]uint8{10, 20, 30}), out)
	}},
	{"closing twice, then nothing runs", func(t *testing.T, gen inference.Generator) {
		require.NoError(t, gen.Close())
		require.NoError(t, gen.Close())
		_, err := gen.Generate(deadline(t), picture(2, 1), inference.Hooks{})
		require.Error(t, err)
	}},
}

// conn returns the two ends of a connection; Serve runs gen on the far one until
// the near one is closed.
func conn(t *testing.T, gen inference.Generator) (near net.Conn, ended <-chan error) {
	t.Helper()
	near, far := net.Pipe()
	result := make(chan error, 1)
	go func() {
		result <- remote.Serve(context.Background(), far, gen)
		far.Close()
	}()
	t.Cleanup(func() { near.Close() })
	return near, result
}
