//go:build cgo && sdcpp

package sdcpp_test

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/inference"
	"sdworker/inference/imageio"
	"sdworker/inference/sdcpp"
	"sdworker/models/synth"
)

// minPSNR is the least likeness, in dB, of a picture to the one that PyTorch made
// of the same checkpoint. Arithmetic alone, float16 in the convolutions here and
// float32 there, gives 54 to 62; a wrong rule gives 10 to 45.
const minPSNR = 48

const referenceFolder = "testdata/reference"

// TestReference makes pictures that an implementation in PyTorch made before,
// one for each feature. README.md of the folder says how they were recorded.
func TestReference(t *testing.T) {
	p := pipelineOn(t, os.Getenv("SDWORKER_TEST_DEVICE"), sdcpp.AttentionAuto)
	for _, c := range referenceCases(t) {
		t.Run(c.name, func(t *testing.T) {
			res, err := p.Generate(t.Context(), c.request, inference.Hooks{})
			require.NoError(t, err)
			require.Empty(t, res.Comments)
			got, want := res.Images[0].Pixels, picture(t, strings.NewReplacer(" ", "-", ",", "").Replace(c.name))
			require.Equal(t, [2]int{want.W, want.H}, [2]int{got.W, got.H})
			likeness := psnr(got.Pix, want.Pix)
			t.Logf("%.1f dB", likeness)
			least := minPSNR
			if within(0) > 0 {
				least = sameDB
			}
			require.Greater(t, likeness, float64(least))
		})
	}
}

// referenceCase is a picture that shows one feature.
type referenceCase struct {
	name    string
	request *inference.Request
}

// referenceCases are one picture for each feature.
func referenceCases(t *testing.T) []referenceCase {
	t.Helper()
	checkpoint, inpainting := model(t, synth.Checkpoint), seeded(t, synth.Inpainting, 3)
	files := inference.Files{
		Checkpoint: checkpoint,
		LoRAs:      map[string]string{"k1": seeded(t, synth.LoRA, 11), "k2": seeded(t, synth.LoRA, 12), "d1": seeded(t, synth.LoRADiffusers, 13)},
		Embeddings: map[string]string{"emb4": seeded(t, synth.Embedding, 10)},
		Upscalers:  map[string]inference.UpscalerModel{"esr": {Path: seeded(t, synth.ESRGAN, 7)}},
	}
	vae, control := seeded(t, synth.VAE, 5), seeded(t, synth.ControlNet, 8)

	var list []referenceCase
	for _, c := range []struct {
		name   string
		change func(*inference.Request)
	}{
		{"euler", func(*inference.Request) {}},
		{"ddim", func(r *inference.Request) { r.Sampler, r.Steps = "DDIM", 8 }},
		{"sde", func(r *inference.Request) { r.Sampler, r.Seed = "DPM++ SDE", 21 }},
		{"prompt editing, second order", func(r *inference.Request) {
			r.Prompt, r.Sampler = "a [cat:dog:3] (in [red|blue]:1.3) grass", "DPM++ 2S a"
		}},
		{"composition", func(r *inference.Request) {
			r.Prompt, r.Steps = "a [cat:dog:0.5] :1.2 AND [red|blue] grass:0.4 AND (moon:1.5) :-0.3", 6
		}},
		{"breaks", func(r *inference.Request) {
			r.Prompt, r.NegativePrompt = "a cat BREAK a (dog BREAK bird:1.3) BREAK, end", "x BREAK y"
		}},
		{"emphasis and clip skip", func(r *inference.Request) { r.Prompt, r.Settings.ClipSkip = "a (lovely:1.3) cat", 7 }},
		{"embeddings", func(r *inference.Request) {
			r.Prompt, r.NegativePrompt = "a photo of (emb4, red:1.3) in grass", "emb4 bad"
		}},
		{"variation and seed resize", func(r *inference.Request) {
			r.SeedResizeW, r.SeedResizeH, r.Subseed, r.SubseedStrength = 96, 48, 5, 0.6
		}},
		{"noise of the CPU, moved", func(r *inference.Request) {
			r.Sampler, r.Subseed, r.SubseedStrength = "Euler a", 9, 0.3
			r.Settings.NoiseSource, r.Settings.ENSD = "CPU", 31337
		}},
		{"adapters of kohya", func(r *inference.Request) { r.Prompt = "a <lora:k1:0.4> lovely <lora:k2:0.5:-0.3> cat" }},
		{"adapter of diffusers", func(r *inference.Request) { r.Prompt = "a lovely cat <lora:d1:0.6>" }},
		{"other vae", func(r *inference.Request) { r.Files.VAE = vae }},
		{"seamless", func(r *inference.Request) { r.Tiling, r.Height = true, 96 }},
		{"img2img, resize and fill", func(r *inference.Request) {
			r.Init.Images, r.Init.ResizeMode, r.Width, r.Height = pictures(t, "landscape"), 2, 96, 56
		}},
		{"soft mask over filled picture", func(r *inference.Request) {
			r.Init.Images = pictures(t, "square")
			r.Init.Mask = &inference.Mask{Image: pictures(t, "softmask")[0].Luma(), BlurX: 1, BlurY: 6}
		}},
		{"only masked, latent noise", func(r *inference.Request) {
			r.Init.Images, r.Width, r.Height = pictures(t, "landscape"), 64, 96
			r.Init.Mask = &inference.Mask{Image: pictures(t, "boxmask")[0].Luma(), BlurX: 4, BlurY: 4, Round: true, Fill: 2, OnlyMasked: true, Padding: 32}
		}},
		{"inpainting checkpoint", func(r *inference.Request) {
			r.Files.Checkpoint, r.Settings.ConditionWeight = inpainting, 0.5
			r.Init.Images = pictures(t, "square")
			r.Init.Mask = &inference.Mask{Image: pictures(t, "softmask")[0].Luma(), BlurX: 4, BlurY: 4}
		}},
		{"hires, cropped, own sampler and prompts", func(r *inference.Request) {
			r.Prompt, r.Sampler, r.DenoisingStrength = "a [cat:[dog|mouse]:0.5]", "Euler a", 0.6
			r.Hires = &inference.Hires{
				Width: 128, Height: 128, TruncateY: 7, Upscaler: "Latent (bicubic antialiased)", Steps: 6,
				Sampler: "DPM++ 2M", Scheduler: "exponential", Prompt: "a [dog:bird:1.5] in grass", NegativePrompt: "blurry", CFGScale: 7,
			}
		}},
		{"hires by upscaler model", func(r *inference.Request) {
			r.DenoisingStrength = 0.6
			r.Hires = &inference.Hires{Width: 96, Height: 96, Upscaler: "esr", Sampler: "Euler", Prompt: r.Prompt, NegativePrompt: r.NegativePrompt, CFGScale: 7}
		}},
		{"controlnet", func(r *inference.Request) {
			r.Control = []inference.ControlUnit{{
				Model: control, Module: "none", Image: pictures(t, "square")[0], Weight: 0.8,
				Start: 0.1, End: 0.7, Mode: inference.ControlModeControlNet, LowRes: true,
			}}
		}},
	} {
		r := &inference.Request{
			Prompt: "a lovely cat", NegativePrompt: "bad, ugly", Seed: 3, SeedResizeW: -1, SeedResizeH: -1,
			Sampler: "Euler", Steps: 5, CFGScale: 7, Width: 64, Height: 64, BatchSize: 1, BatchNum: 1, DenoisingStrength: 0.7,
			Init: &inference.Init{NoiseMultiplier: 1}, Files: files, Settings: inference.DefaultSettings(),
		}
		c.change(r)
		if len(r.Init.Images) == 0 {
			r.Init = nil
		}
		list = append(list, referenceCase{c.name, r})
	}
	return list
}

// seeded returns a tiny synthetic file of a seed.
func seeded(t *testing.T, kind synth.Kind, seed uint64) string {
	t.Helper()
	path := filepath.Join(modelFolder, fmt.Sprintf("%s-%d.safetensors", kind, seed))
	if _, err := os.Stat(path); err != nil {
		require.NoError(t, synth.Write(t.Context(), path, synth.Options{Kind: kind, Seed: seed}))
	}
	return path
}

func pictures(t *testing.T, name string) []imageio.RGB { return []imageio.RGB{picture(t, name)} }

// picture reads a PNG of the reference folder.
func picture(t *testing.T, name string) imageio.RGB {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(referenceFolder, name+".png"))
	require.NoError(t, err)
	decoded, err := imageio.Decode(raw, 1<<20)
	require.NoError(t, err)
	return decoded.RGB([3]uint8{255, 255, 255})
}

func psnr(a, b []uint8) float64 {
	var sum float64
	for i := range a {
		d := float64(a[i]) - float64(b[i])
		sum += d * d
	}
	return 10 * math.Log10(255*255*float64(len(a))/max(sum, 1e-9))
}
