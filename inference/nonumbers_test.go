package inference_test

import (
	"context"
	"math"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/formats/safetensors"
	"sdworker/inference"
	"sdworker/inference/clip"
	"sdworker/inference/enginetest"
	"sdworker/models/modelstest"
)

// spoiled is an engine of which one operation gives a value that is no number.
type spoiled struct {
	*enginetest.Fake
	op enginetest.Op
}

func (s spoiled) spoil(op enginetest.Op, out []float32, err error) ([]float32, error) {
	if s.op == op && err == nil {
		out[len(out)-1] = float32(math.NaN())
		if op == enginetest.OpPredictNoise {
			for i := range out {
				out[i] = float32(math.NaN())
			}
		}
	}
	return out, err
}

func (s spoiled) EncodeText(ctx context.Context, in inference.TextInput) ([]float32, error) {
	out, err := s.Fake.EncodeText(ctx, in)
	return s.spoil(enginetest.OpEncodeText, out, err)
}

func (s spoiled) PredictNoise(ctx context.Context, in inference.UNetInput) ([]float32, error) {
	out, err := s.Fake.PredictNoise(ctx, in)
	return s.spoil(enginetest.OpPredictNoise, out, err)
}

func (s spoiled) Decode(ctx context.Context, in inference.LatentInput) ([]float32, error) {
	out, err := s.Fake.Decode(ctx, in)
	return s.spoil(enginetest.OpDecode, out, err)
}

// A picture of values that are no numbers would be black: the job fails, and says which
// file is to blame.
func TestNoPictureOfNoNumbers(t *testing.T) {
	for op, want := range map[enginetest.Op]string{
		enginetest.OpEncodeText:   "the text encoder produced NaN",
		enginetest.OpPredictNoise: "the UNet produced only NaN: try a higher precision or another checkpoint, or without the ControlNet canny.safetensors",
		enginetest.OpDecode:       "the VAE produced a picture of NaNs",
	} {
		t.Run(string(op), func(t *testing.T) {
			p := inference.NewPipeline(func(context.Context, string, func(done, total int)) (inference.Engine, error) {
				return spoiled{&enginetest.Fake{}, op}, nil
			}, inference.PipelineOptions{})
			defer p.Close()
			_, err := p.Generate(t.Context(), txt2img(func(r *inference.Request) {
				r.Control = []inference.ControlUnit{unitOf("none", func(u *inference.ControlUnit) { u.Model = "/models/ControlNet/canny.safetensors" })}
			}), inference.Hooks{})
			require.ErrorContains(t, err, want)
		})
	}
}

// embeddingFile writes a textual inversion of one vector of a value.
func embeddingFile(t *testing.T, width int64, value float32) string {
	t.Helper()
	const name = "emb_params"
	data := map[string][]byte{name: modelstest.Data(t, safetensors.F32, slices.Repeat([]float32{value}, int(width))...)}
	return modelstest.WriteData(t, filepath.Join(t.TempDir(), "e.safetensors"), nil, data,
		safetensors.Tensor{Name: name, DType: safetensors.F32, Shape: []int64{1, width}})
}

// The name of a textual inversion that cannot be used is a word like any other, and the
// text says so where it is used.
func TestEmbeddingsThatCannotBeUsedAreTold(t *testing.T) {
	files := map[string]string{
		"good": embeddingFile(t, clip.Width, 0.5), "none": embeddingFile(t, clip.Width, float32(math.NaN())),
		"endless": embeddingFile(t, clip.Width, float32(math.Inf(-1))), "other": embeddingFile(t, 1024, 1), "gone": "absent.pt",
	}
	b := newBench(t, nil)
	comments := func(prompt string) []string {
		return b.run(t, txt2img(func(r *inference.Request) {
			r.Prompt, r.NegativePrompt, r.Files.Embeddings = prompt, "(OTHER:1.2)", files
		})).Comments
	}
	const other = "Embedding other is read as words: it is for another model family"
	require.Equal(t, []string{other}, comments("nonesuch, good"))
	require.Equal(t, []string{
		"Embedding endless is read as words: embedding e.safetensors: holds values that are no numbers",
		"Embedding none is read as words: embedding e.safetensors: holds values that are no numbers", other,
	}, comments("endless,None"))
}
