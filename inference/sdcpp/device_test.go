//go:build cgo && sdcpp

package sdcpp_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"sdworker/fault"
	"sdworker/inference"
	"sdworker/inference/enginetest"
	"sdworker/inference/imageio"
	"sdworker/inference/latent"
	"sdworker/inference/regions"
	"sdworker/inference/sampler"
	"sdworker/inference/sdcpp"
	"sdworker/models/synth"
)

// sameDB is the least likeness, in dB, of pictures whose arithmetic differs in
// rounding only: on another device, in other kernels, in a batch.
const sameDB = 40

// deviceTolerance is how far from the right values a call on a GPU may be, relative to
// the largest: it multiplies in half precision, and CUDA sums in it, too.
var deviceTolerance = 1e-2

// within is how far off a call may be on the device of the tests, for a CPU that may be
// so far off.
func within(cpu float64) float64 {
	if device := os.Getenv("SDWORKER_TEST_DEVICE"); device != "" && device != "cpu" {
		return max(cpu, deviceTolerance)
	}
	return cpu
}

// testDevice is the device to compare with the CPU. The tests of this file are for
// machines with a GPU; with cpu they test themselves.
func testDevice(t *testing.T) string {
	t.Helper()
	device := os.Getenv("SDWORKER_TEST_DEVICE")
	if device == "" {
		t.Skip("SDWORKER_TEST_DEVICE names no device, such as cuda0")
	}
	return device
}

// pipelineOn makes pictures on a device.
func pipelineOn(t *testing.T, device string, attention sdcpp.Attention) *inference.Pipeline {
	t.Helper()
	p := newPipeline(device, attention, inference.PipelineOptions{})
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	return p
}

func newPipeline(device string, attention sdcpp.Attention, o inference.PipelineOptions) *inference.Pipeline {
	return inference.NewPipeline(func(ctx context.Context, checkpoint string, _ func(done, total int)) (inference.Engine, error) {
		return sdcpp.Open(ctx, sdcpp.Options{Checkpoint: checkpoint, Device: device, Attention: attention, Log: zerolog.Nop()})
	}, o)
}

// deviceRequest is a picture of 256x256 in 8 steps, or for a CPU or a software device
// a small one.
func deviceRequest(t *testing.T) *inference.Request {
	t.Helper()
	side, steps := 256, 8
	if !isGPU(testDevice(t)) {
		side, steps = 64, 3
	}
	return &inference.Request{
		Prompt: "a lovely cat", NegativePrompt: "blurry", Seed: 1, Sampler: "Euler a", Steps: steps, CFGScale: 7, Width: side, Height: side,
		BatchSize: 1, BatchNum: 1, Files: inference.Files{Checkpoint: model(t, synth.Checkpoint)}, Settings: inference.DefaultSettings(),
	}
}

func pixels(t *testing.T, p *inference.Pipeline, r *inference.Request) []imageio.RGB {
	t.Helper()
	res, err := p.Generate(t.Context(), r, inference.Hooks{})
	require.NoError(t, err)
	return pixelsOf(res)
}

func pixelsOf(res *inference.Result) []imageio.RGB {
	out := make([]imageio.RGB, len(res.Images))
	for i := range out {
		out[i] = res.Images[i].Pixels
	}
	return out
}

func requireAlike(t *testing.T, what string, a, b imageio.RGB) {
	t.Helper()
	require.Equal(t, [2]int{a.W, a.H}, [2]int{b.W, b.H})
	db := psnr(a.Pix, b.Pix)
	t.Logf("%s: %.1f dB", what, db)
	require.Greater(t, db, float64(sameDB), what)
}

// TestDeviceAgreesOnEachNetwork compares single calls, which takes less than pictures.
func TestDeviceAgreesOnEachNetwork(t *testing.T) {
	files := sdcpp.Options{Checkpoint: model(t, synth.Checkpoint), Log: zerolog.Nop()}
	outputs := func(device string) map[string][]float32 {
		files.Device = device
		e, err := sdcpp.Open(t.Context(), files)
		require.NoError(t, err)
		defer e.Close()
		in := unetInput(8, 8)
		out := map[string][]float32{}
		keep := func(what string, values []float32, err error) {
			require.NoError(t, err, what)
			out[what] = values
		}
		values, err := e.PredictNoise(t.Context(), in)
		keep("unet", values, err)
		values, err = e.Decode(t.Context(), inference.LatentInput{Latent: in.Latent, H: 8, W: 8})
		keep("decode", values, err)
		values, err = e.DecodePreview(t.Context(), model(t, synth.TAESD), in.Latent, 8, 8)
		keep("preview", values, err)
		values, _, err = e.UpscalePixels(t.Context(), inference.UpscalerModel{Path: model(t, synth.ESRGAN)}, enginetest.Noise(3, 3*64), 8, 8)
		keep("upscale", values, err)
		return out
	}
	want := outputs("cpu")
	for what, values := range outputs(testDevice(t)) {
		off := enginetest.RelativeError(want[what], values)
		t.Logf("%s: %.1e", what, off)
		require.Less(t, off, deviceTolerance, what)
	}
}

// TestDeviceAgreesWithTheCPU compares whole pictures.
func TestDeviceAgreesWithTheCPU(t *testing.T) {
	device := testDevice(t)
	cpu := pipelineOn(t, "cpu", sdcpp.AttentionPlain)
	for name, attention := range map[string]sdcpp.Attention{"fused attention": sdcpp.AttentionFused, "plain attention": sdcpp.AttentionPlain} {
		gpu := pipelineOn(t, device, attention)
		for kind, change := range map[string]func(*inference.Request){
			"text to image": func(*inference.Request) {},
			"odd size":      func(r *inference.Request) { r.Width, r.Height = r.Width-56, r.Height-24 },
			"second order":  func(r *inference.Request) { r.Sampler, r.Scheduler = "DPM++ 2M", "karras" },
			"long prompt":   func(r *inference.Request) { r.Prompt = strings.Repeat("a cat, ", 60) },
			"image to image": func(r *inference.Request) {
				r.Init, r.DenoisingStrength = &inference.Init{Images: []imageio.RGB{ramp(r.Width, r.Height)}, NoiseMultiplier: 1}, 0.6
			},
		} {
			r := deviceRequest(t)
			change(r)
			requireAlike(t, name+", "+kind, pixels(t, cpu, r)[0], pixels(t, gpu, r)[0])
		}
	}
}

// TestDeviceAgreesOnEachFeature compares pictures of each feature with the CPU's.
func TestDeviceAgreesOnEachFeature(t *testing.T) {
	cpu, device := pipelineOn(t, "cpu", sdcpp.AttentionAuto), pipelineOn(t, testDevice(t), sdcpp.AttentionAuto)
	for _, c := range append(referenceCases(t), furtherCases(t)...) {
		t.Run(c.name, func(t *testing.T) {
			requireAlike(t, c.name, pixels(t, cpu, c.request)[0], pixels(t, device, c.request)[0])
		})
	}
}

// furtherCases are pictures that no implementation in PyTorch was recorded of: the UNet's
// graph is changed, or its calls are others.
func furtherCases(t *testing.T) []referenceCase {
	t.Helper()
	var list []referenceCase
	for _, c := range []struct {
		name   string
		change func(*inference.Request)
	}{
		{"FreeU 1", func(r *inference.Request) {
			r.Settings.FreeU = inference.TimedFreeU{FreeU: inference.SimpleFreeU(1, 1.3, 1.4, 0.9, 0.2), End: 1}
		}},
		{"FreeU 2", func(r *inference.Request) {
			r.Settings.FreeU = inference.TimedFreeU{FreeU: inference.SimpleFreeU(2, 1.3, 1.4, 0.9, 0.2), End: 1}
		}},
		{"perturbed attention", func(r *inference.Request) { r.Settings.Perturbation = sampler.Perturbation{Scale: 3, End: 1} }},
		{"hypernetwork", func(r *inference.Request) {
			r.Prompt += " <hypernet:h:1>"
			r.Files.Hypernets = map[string]string{"h": "../../formats/hypernet/testdata/hypernet.pt"}
		}},
		{"adapter of pictures", func(r *inference.Request) {
			r.Control = []inference.ControlUnit{{
				Model: model(t, synth.IPAdapter), Encoder: model(t, synth.ImageEncoder), Module: "none",
				Image: ramp(r.Width, r.Height), Weight: 1, End: 1, LowRes: true,
			}}
		}},
		{"soft inpainting", func(r *inference.Request) {
			soft := latent.DefaultSoft()
			r.Init, r.DenoisingStrength = &inference.Init{Images: []imageio.RGB{ramp(r.Width, r.Height)}, NoiseMultiplier: 1}, 0.8
			r.Init.Mask = &inference.Mask{Image: ramp(r.Width, r.Height).Luma(), BlurX: 2, BlurY: 2, Fill: 1, Soft: &soft}
		}},
		{"regions", func(r *inference.Request) {
			r.Prompt += " AND a bird"
			r.Regions = &regions.Spec{Couple: &regions.Couple{Divisions: "1:2,1:2", Positions: "0:0,0:1", Weights: "1,0.5", Steps: r.Steps}}
		}},
		{"refiner", func(r *inference.Request) {
			r.Refiner = &inference.Refiner{Checkpoint: seeded(t, synth.Checkpoint, 4), SwitchAt: 0.5, BySteps: true}
		}},
		{"step cache", func(r *inference.Request) { r.Settings.StepCache, r.Steps = 0.4, 6 }},
	} {
		r := deviceRequest(t)
		c.change(r)
		list = append(list, referenceCase{c.name, r})
	}
	return list
}

// ramp is a picture of colours that change slowly.
func ramp(w, h int) imageio.RGB {
	m := imageio.RGB{W: w, H: h, Pix: make([]uint8, 3*w*h)}
	for y := range h {
		for x := range w {
			i := 3 * (y*w + x)
			m.Pix[i], m.Pix[i+1], m.Pix[i+2] = uint8(x*255/w), uint8(y*255/h), uint8((x+y)*255/(w+h))
		}
	}
	return m
}

func TestDeviceRepeatsItself(t *testing.T) {
	p := pipelineOn(t, testDevice(t), sdcpp.AttentionAuto)
	r := deviceRequest(t)
	first := pixels(t, p, r)
	other := deviceRequest(t)
	other.Width, other.BatchSize, other.Seed = other.Width*2, 3, 9
	pixels(t, p, other)
	require.Equal(t, first, pixels(t, p, r), "after another job")
	require.Equal(t, first, pixels(t, pipelineOn(t, testDevice(t), sdcpp.AttentionAuto), r), "after loading again")
}

func TestDeviceBatchIsItsPictures(t *testing.T) {
	p := pipelineOn(t, testDevice(t), sdcpp.AttentionAuto)
	batch := deviceRequest(t)
	batch.BatchSize = 4
	together := pixels(t, p, batch)
	require.Len(t, together, 4)
	for i := range together {
		r := deviceRequest(t)
		r.Seed += int64(i)
		requireAlike(t, "picture of a batch", pixels(t, p, r)[0], together[i])
	}
}

// TestDeviceSharesSteps has requests of three kinds meet in the UNet's calls.
func TestDeviceSharesSteps(t *testing.T) {
	alone := pipelineOn(t, testDevice(t), sdcpp.AttentionAuto)
	shared := newPipeline(testDevice(t), sdcpp.AttentionAuto, inference.PipelineOptions{Jobs: 3})
	t.Cleanup(func() { require.NoError(t, shared.Close()) })
	q := inference.NewQueue(shared, inference.QueueOptions{Jobs: 3})
	got := make([][]imageio.RGB, 3)
	var wg sync.WaitGroup
	for i := range got {
		wg.Go(func() {
			res, err := q.Generate(t.Context(), inference.Job{}, companion(t, i))
			if assert.NoError(t, err) {
				got[i] = pixelsOf(res)
			}
		})
	}
	wg.Wait()
	status := shared.Status()
	t.Logf("%d rows in %d calls", status.UNetRows, status.UNetCalls)
	require.Greater(t, status.UNetRows, 2*status.UNetCalls, "there was company")
	for i, pictures := range got {
		require.NotEmpty(t, pictures)
		requireAlike(t, "in company", pixels(t, alone, companion(t, i))[0], pictures[0])
	}
}

// companion is a request that goes with others of these.
func companion(t *testing.T, i int) *inference.Request {
	t.Helper()
	r := deviceRequest(t)
	r.Seed, r.Steps = int64(i), 6
	switch i {
	case 1:
		r.Sampler = "DPM++ 2M"
	case 2:
		r.Init, r.DenoisingStrength = &inference.Init{Images: []imageio.RGB{ramp(r.Width, r.Height)}, NoiseMultiplier: 1}, 1
	}
	return r
}

// graphsOff is read by the engine when the process starts.
const graphsOff = "GGML_CUDA_DISABLE_GRAPHS"

// TestDeviceGraphsChangeNothing makes a picture in a process without CUDA graphs.
func TestDeviceGraphsChangeNothing(t *testing.T) {
	device := testDevice(t)
	const result = "picture: "
	r := deviceRequest(t)
	if os.Getenv(graphsOff) != "" {
		text, err := json.Marshal(pixels(t, pipelineOn(t, device, sdcpp.AttentionAuto), r)[0].Pix)
		require.NoError(t, err)
		println(result + strings.Trim(string(text), `"`))
		return
	}
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), graphsOff+"=1")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	_, text, ok := strings.Cut(string(out), result)
	require.True(t, ok)
	text, _, _ = strings.Cut(text, "\n")
	without, err := base64.StdEncoding.DecodeString(text)
	require.NoError(t, err)
	with := pixels(t, pipelineOn(t, device, sdcpp.AttentionAuto), r)[0]
	requireAlike(t, "without CUDA graphs", with, imageio.RGB{W: with.W, H: with.H, Pix: without})
}

// TestDeviceOutOfMemory asks for more than any GPU has: attention over 512x512
// places needs 2 TiB when it is not fused.
func TestDeviceOutOfMemory(t *testing.T) {
	device := testDevice(t)
	if device == "cpu" {
		t.Skip("the memory of a CPU is given before it is there")
	}
	p := pipelineOn(t, device, sdcpp.AttentionPlain)
	before := pixels(t, p, deviceRequest(t))
	huge := deviceRequest(t)
	huge.Width, huge.Height, huge.Steps = 4096, 4096, 1
	_, err := p.Generate(t.Context(), huge, inference.Hooks{})
	require.Equal(t, fault.Exhausted, fault.CodeOf(err), "%v", err)
	require.Equal(t, before, pixels(t, p, deviceRequest(t)), "the engine goes on as before")
}

func TestDeviceStopsWithinAStep(t *testing.T) {
	p := pipelineOn(t, testDevice(t), sdcpp.AttentionAuto)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r := deviceRequest(t)
	r.Steps = 100
	last := 0
	_, err := p.Generate(ctx, r, inference.Hooks{Progress: func(p inference.Progress) {
		last = max(last, p.Step)
		if p.Step == 3 {
			cancel()
		}
	}})
	require.Equal(t, fault.Canceled, fault.CodeOf(err))
	require.Equal(t, 3, last)
}

// TestDeviceMemoryDoesNotGrow makes 200 pictures of mixed kinds.
func TestDeviceMemoryDoesNotGrow(t *testing.T) {
	device := testDevice(t)
	jobs := 200
	if !isGPU(device) {
		jobs = 100
	}
	if device == "cpu" || testing.Short() {
		jobs = 10
	}
	p := pipelineOn(t, device, sdcpp.AttentionAuto)
	const round = 60 // after it every kind has met every size
	for i := range min(round, jobs) {
		mixedJob(t, p, i)
	}
	used := deviceUsed(device)
	for i := range jobs {
		mixedJob(t, p, i)
	}
	grown := deviceUsed(device) - used
	t.Logf("%d jobs: %d MiB more of %d MiB", jobs, grown>>20, used>>20)
	require.LessOrEqual(t, grown, int64(16<<20))
}

// mixedJob makes a picture. Its kind and size depend on i, and some are stopped.
func mixedJob(t *testing.T, p *inference.Pipeline, i int) {
	t.Helper()
	r := deviceRequest(t)
	r.Seed, r.Steps, r.Width, r.Height = int64(i), 2, 64+64*(i%4), 64+64*(i%3)
	switch i % 5 {
	case 1:
		r.BatchSize = 3
	case 2:
		r.Prompt += " <lora:l:0.5>"
		r.Files.LoRAs = map[string]string{"l": model(t, synth.LoRA)}
	case 3:
		r.Files.VAE = model(t, synth.VAE)
	case 4:
		r.Init, r.DenoisingStrength = &inference.Init{Images: []imageio.RGB{ramp(r.Width, r.Height)}, NoiseMultiplier: 1}, 0.9
		r.Control = []inference.ControlUnit{{
			Model: model(t, synth.ControlNet), Module: "none", Image: ramp(r.Width, r.Height), Weight: 1, End: 1, LowRes: true,
		}}
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	_, err := p.Generate(ctx, r, inference.Hooks{Progress: func(p inference.Progress) {
		if i%7 == 6 && p.Step == 1 {
			cancel()
		}
	}})
	if ctx.Err() == nil {
		require.NoError(t, err)
	}
}

// heapUsed is what is taken of the device's memory where the tests can count it
// themselves; else nil.
var heapUsed func() int64

// deviceUsed is what is taken of a device's memory, in bytes; 0 for a CPU.
func deviceUsed(device string) int64 {
	if heapUsed != nil {
		return heapUsed()
	}
	for _, d := range sdcpp.Devices() {
		if d.GPU && strings.EqualFold(d.Name, device) {
			return int64(d.TotalBytes) - int64(d.FreeBytes)
		}
	}
	return 0
}

func isGPU(device string) bool {
	return slices.ContainsFunc(sdcpp.Devices(), func(d sdcpp.Device) bool { return d.GPU && strings.EqualFold(d.Name, device) })
}
