package inference_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/formats/embedding"
	"sdworker/inference"
	"sdworker/inference/clip"
	"sdworker/inference/enginetest"
)

// Tags of one LoRA add up as they do in A1111: the strengths of a name's last tag
// count for all its tags, and a file under two names is two LoRAs.
func TestRepeatedTags(t *testing.T) {
	for prompt, want := range map[string][]inference.LoRA{
		"a <lora:a:0.5>":                              {{Path: "a", UNet: 0.5, TextEncoder: 0.5}},
		"<lora:a:0.5><lora:a:0.25:1>":                 {{Path: "a", UNet: 2, TextEncoder: 0.5}},
		"<lora:a:0.5><lora:alias:0.25>":               {{Path: "a", UNet: 0.75, TextEncoder: 0.75}},
		"<lora:a:1><lora:alias:0.25><lora:a:0.5>":     {{Path: "a", UNet: 1.25, TextEncoder: 1.25}},
		"<lora:b:1><lora:a:te=0.5:unet=-1><lyco:b:3>": {{Path: "b", UNet: 6, TextEncoder: 6}, {Path: "a", UNet: -1, TextEncoder: 0.5}},
		"<lora:a:1><lora:none:1>":                     {{Path: "a", UNet: 1, TextEncoder: 1}},
		"<hypernet:a:1><what:b>":                      nil,
		"<lora:a:x><lora:b:1>":                        nil,
	} {
		t.Run(prompt, func(t *testing.T) {
			b := newBench(t, nil)
			b.run(t, txt2img(func(r *inference.Request) {
				r.Prompt, r.Files.LoRAs = prompt, map[string]string{"a": "a", "alias": "a", "b": "b"}
			}))
			var got []inference.LoRA
			for _, c := range b.engine().Calls(enginetest.OpSetLoRAs) {
				got = c.LoRAs
			}
			require.Equal(t, want, got)
		})
	}
}

func TestTagsThatDoNothingAreTold(t *testing.T) {
	b := newBench(t, nil)
	res := b.run(t, txt2img(func(r *inference.Request) {
		r.Prompt, r.Files.LoRAs = "<lora:a:1:1:4><hypernet:h:1><lora:none>", map[string]string{"a": "a"}
	}))
	require.Len(t, res.Comments, 3)
	require.Equal(t, []string{"a"}, res.UsedLoRAs)
	res = b.run(t, txt2img(func(r *inference.Request) { r.NegativePrompt = "<lora:a:1>" }))
	require.Empty(t, res.Comments, "tags in the negative prompt are text")
}

func TestHypernetworkTags(t *testing.T) {
	b := newBench(t, nil)
	run := func(text string) ([]string, []inference.Hypernet) {
		res := b.run(t, txt2img(func(r *inference.Request) {
			r.Prompt = text
			r.Files.Hypernets = map[string]string{
				"h": "../formats/hypernet/testdata/hypernet.pt", "p": "../formats/hypernet/testdata/hypernet-plain.pt", "broken": "networks_test.go",
			}
		}))
		return res.Comments, b.engine().Hypernets()
	}
	comments, set := run("a cat <hypernet:h:0.5><hypernet:p><hypernet:h:-0.25>")
	require.Empty(t, comments)
	require.Len(t, set, 2)
	require.Equal(t, []float64{-0.25, 1}, []float64{set[0].Strength, set[1].Strength})
	require.Equal(t, "hypernet", set[0].Network.Name)
	_, again := run("a dog <hypernet:h:-0.25><hypernet:p>")
	require.Same(t, set[0].Network, again[0].Network, "a file is read once")

	comments, set = run("a cat <hypernet:absent:1><hypernet:broken:1>")
	require.Empty(t, set)
	require.Len(t, comments, 2)
	require.Equal(t, "Hypernetwork not found: absent", comments[0])
	require.Contains(t, comments[1], "hypernetwork networks_test.go: not a readable PyTorch file")
	comments, set = run("a cat <hypernet:h:much>")
	require.Empty(t, set)
	require.Equal(t, []string{`Hypernetwork tags were ignored: could not convert string to float: "much"`}, comments)
}

// What of a LoRA does not act is told with the picture, also when nothing changes
// because the job before had the same LoRAs.
func TestNotesOfLoRAsAreTold(t *testing.T) {
	b := newBench(t, func() *enginetest.Fake {
		return &enginetest.Fake{LoRAReports: map[string]inference.LoRAReport{"a": {Note: "is broken"}}}
	})
	for range 2 {
		res := b.run(t, txt2img(func(r *inference.Request) {
			r.Prompt, r.Files.LoRAs = "<lora:one:1><lora:two:1><lora:alias:1>", map[string]string{"one": "b", "two": "a", "alias": "a"}
		}))
		require.Equal(t, []string{"LoRA two: is broken"}, res.Comments)
	}
	require.Empty(t, b.run(t, txt2img(nil)).Comments)
}

// A textual inversion inside a LoRA acts while the LoRA does, unless a file has its
// name.
func TestEmbeddingsInsideLoRAs(t *testing.T) {
	inside := &embedding.Embedding{Name: "mychar", Vectors: 2, Shape: clip.Width, Values: make([]float32, 2*clip.Width)}
	b := newBench(t, func() *enginetest.Fake {
		return &enginetest.Fake{LoRAReports: map[string]inference.LoRAReport{"a": {Embeddings: []*embedding.Embedding{inside}}}}
	})
	b.run(t, txt2img(nil)) // opens the engine
	vectors := func(prompt string, embeddings map[string]string) int {
		before := len(b.engine().Calls(enginetest.OpEncodeText))
		res := b.run(t, txt2img(func(r *inference.Request) {
			r.Prompt, r.Files.LoRAs, r.Files.Embeddings = prompt, map[string]string{"a": "a"}, embeddings
		}))
		require.Empty(t, res.Comments)
		require.Len(t, res.UsedEmbeddings, len(embeddings))
		most := 0
		for _, c := range b.engine().Calls(enginetest.OpEncodeText)[before:] {
			most = max(most, len(c.Text.Vectors))
		}
		return most
	}
	require.Equal(t, 2, vectors("photo of mychar <lora:a:1>", nil))
	require.Zero(t, vectors("photo of mychar", nil))
	require.Equal(t, 2, vectors("a photo of mychar <lora:a:0>", nil), "the strength is the weights'")
	file := filepath.Join("..", "formats", "embedding", "testdata", "single.safetensors")
	require.Equal(t, 3, vectors("photo of mychar <lora:a:1>", map[string]string{"mychar": file}), "the file's")
}

// Each pass of a hires job has the LoRAs of its own prompt.
func TestHiresPassHasItsOwnLoRAs(t *testing.T) {
	b := newBench(t, nil)
	res := b.run(t, txt2img(func(r *inference.Request) {
		r.Prompt, r.Files.LoRAs, r.BatchNum, r.DenoisingStrength = "a cat <lora:a:1>", map[string]string{"a": "a", "b": "b"}, 2, 0.5
		r.Hires = &inference.Hires{Width: 96, Height: 64, Upscaler: "Latent", Sampler: "Euler", Prompt: "a cat <lora:b:0.5>", CFGScale: 7}
	}))
	require.Equal(t, []string{"a", "b"}, res.UsedLoRAs)
	var paths []string
	for _, c := range b.engine().Calls(enginetest.OpSetLoRAs) {
		paths = append(paths, c.LoRAs[0].Path)
	}
	require.Equal(t, []string{"a", "b", "a", "b"}, paths)
}

// A hypernetwork that there is no memory for is left out with a note, and takes none.
func TestHypernetworkBeyondMemory(t *testing.T) {
	large := filepath.Join(t.TempDir(), "large.pt")
	require.NoError(t, os.WriteFile(large, nil, 0o600))
	require.NoError(t, os.Truncate(large, 1<<30))
	b := newBench(t, func() *enginetest.Fake {
		return &enginetest.Fake{Description: inference.EngineInfo{MemoryBytes: 8 << 30}}
	})
	res := b.run(t, txt2img(func(r *inference.Request) {
		r.Prompt, r.Files.Hypernets = "a cat <hypernet:large:1><hypernet:h:1>", map[string]string{"large": large, "h": "../formats/hypernet/testdata/hypernet.pt"}
	}))
	require.Len(t, b.engine().Hypernets(), 1)
	require.Len(t, res.Comments, 1)
	require.Contains(t, res.Comments[0], "hypernetwork large takes 4096 MiB")
	require.Contains(t, res.Comments[0], "it was left out")
}
