//go:build cgo && sdcpp

package sdcpp_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/fault"
	"sdworker/inference"
	"sdworker/inference/enginetest"
	"sdworker/inference/sdcpp"
	"sdworker/models/synth"
)

// copied returns a copy of a tiny synthetic file under a name of its own.
func copied(t *testing.T, kind synth.Kind) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file.safetensors")
	copyFile(t, model(t, kind), path)
	return path
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(to, data, 0o600))
}

// replacements are the ways in which programs write over a model file.
var replacements = map[string]func(t *testing.T, kind synth.Kind, path string){
	"renamed over": func(t *testing.T, kind synth.Kind, path string) {
		t.Helper()
		copyFile(t, otherModel(t, kind), path+".tmp")
		require.NoError(t, os.Rename(path+".tmp", path))
	},
	"overwritten in place": overwrite,
}

// overwrite writes other weights into an existing file, without cutting it before:
// that would end a process that has it mapped.
func overwrite(t *testing.T, kind synth.Kind, path string) {
	t.Helper()
	data, err := os.ReadFile(otherModel(t, kind))
	require.NoError(t, err)
	out, err := os.OpenFile(path, os.O_WRONLY, 0)
	require.NoError(t, err)
	defer out.Close()
	_, err = out.Write(data)
	require.NoError(t, err)
}

// otherModel is a file like model's with other weights.
func otherModel(t *testing.T, kind synth.Kind) string {
	t.Helper()
	path := filepath.Join(modelFolder, "other-"+string(kind)+".safetensors")
	if _, err := os.Stat(path); err != nil {
		require.NoError(t, synth.Write(t.Context(), path, synth.Options{Kind: kind, Size: synth.Tiny, Seed: 1}))
	}
	return path
}

func TestReplacedFilesAreReadAgain(t *testing.T) {
	ctx := t.Context()
	latent := enginetest.Noise(6, 4*16)
	for kind, use := range map[synth.Kind]func(e *sdcpp.Engine, path string) ([]float32, error){
		synth.VAE: func(e *sdcpp.Engine, path string) ([]float32, error) {
			if err := e.SetVAE(ctx, path); err != nil {
				return nil, err
			}
			return e.Decode(ctx, inference.LatentInput{Latent: latent, H: 4, W: 4})
		},
		synth.LoRA: func(e *sdcpp.Engine, path string) ([]float32, error) {
			if _, err := e.SetLoRAs(ctx, []inference.LoRA{{Path: path, UNet: 1}}); err != nil {
				return nil, err
			}
			return e.PredictNoise(ctx, unetInput(4, 4))
		},
		synth.ControlNet: func(e *sdcpp.Engine, path string) ([]float32, error) {
			in := unetInput(4, 4)
			in.Control = []inference.ControlInput{{
				Model: path, Hint: make([]float32, 3*32*32), Rows: []float32{1}, Layers: slices.Repeat([]float32{1}, inference.ControlLayers),
			}}
			return e.PredictNoise(ctx, in)
		},
		synth.TAESD: func(e *sdcpp.Engine, path string) ([]float32, error) { return e.DecodePreview(ctx, path, latent, 4, 4) },
		synth.ESRGAN: func(e *sdcpp.Engine, path string) ([]float32, error) {
			out, _, err := e.UpscalePixels(ctx, inference.UpscalerModel{Path: path}, enginetest.Noise(9, 3*16), 4, 4)
			return out, err
		},
	} {
		t.Run(string(kind), func(t *testing.T) {
			e := open(t, sdcpp.Options{Checkpoint: model(t, synth.Checkpoint)})
			defer e.Close()
			result := func(path string) []float32 {
				out, err := use(e, path)
				require.NoError(t, err)
				return out
			}
			for how, replace := range replacements {
				path := copied(t, kind)
				old := result(path)
				require.True(t, e.Renew())
				require.True(t, slices.Equal(old, result(path)), "the same file again")
				replace(t, kind, path)
				require.True(t, e.Renew(), "the checkpoint is as it was")
				got := result(path)
				require.False(t, slices.Equal(old, got), "%s: the old weights", how)
				other := filepath.Join(t.TempDir(), "fresh.safetensors")
				copyFile(t, path, other)
				require.True(t, slices.Equal(result(other), got), "%s: neither the old nor the new weights", how)

				got = result(path)
				require.NoError(t, os.Remove(path))
				require.True(t, e.Renew())
				require.True(t, slices.Equal(got, result(path)), "%s: a file that is gone stays in use", how)
			}
		})
	}
}

func TestReplacedCheckpoint(t *testing.T) {
	lora := model(t, synth.LoRA)
	predict := func(e *sdcpp.Engine) ([]float32, error) { return e.PredictNoise(t.Context(), unetInput(4, 4)) }
	start := func(t *testing.T) (path string, e *sdcpp.Engine, want []float32) {
		path = copied(t, synth.Checkpoint)
		e = open(t, sdcpp.Options{Checkpoint: path})
		t.Cleanup(func() { require.NoError(t, e.Close()) })
		want, err := predict(e)
		require.NoError(t, err)
		return path, e, want
	}
	for how, keep := range map[string]func(t *testing.T, path string){
		"gone":         func(t *testing.T, path string) { require.NoError(t, os.Remove(path)) },
		"renamed over": func(t *testing.T, path string) { replacements["renamed over"](t, synth.Checkpoint, path) },
	} {
		t.Run(how, func(t *testing.T) {
			path, e, want := start(t)
			weights := e.WeightsHash()
			_, err := e.SetLoRAs(t.Context(), []inference.LoRA{{Path: lora, UNet: 1}})
			require.NoError(t, err)
			keep(t, path)
			// What is loaded stays whole, also what an adapter changed.
			_, err = e.SetLoRAs(t.Context(), nil)
			require.NoError(t, err)
			require.Equal(t, weights, e.WeightsHash())
			got, err := predict(e)
			require.NoError(t, err)
			require.True(t, slices.Equal(want, got))
			require.Equal(t, how == "gone", e.Renew())
		})
	}
	t.Run("overwritten in place", func(t *testing.T) {
		path, e, _ := start(t)
		overwrite(t, synth.Checkpoint, path)
		_, err := predict(e)
		require.Equal(t, fault.Broken, fault.CodeOf(err), "%v", err)
		require.ErrorContains(t, err, path)
		require.ErrorContains(t, err, "overwritten")
		require.False(t, e.Renew())
	})
	t.Run("overwritten in place, adapters", func(t *testing.T) {
		path, e, _ := start(t)
		overwrite(t, synth.Checkpoint, path)
		_, err := e.SetLoRAs(t.Context(), []inference.LoRA{{Path: lora, UNet: 1}})
		require.Equal(t, fault.Broken, fault.CodeOf(err), "%v", err)
	})
}

// What Renew costs is paid by every job.
func BenchmarkRenew(b *testing.B) {
	e := open(b, sdcpp.Options{Checkpoint: model(b, synth.Checkpoint)})
	require.NoError(b, e.SetVAE(b.Context(), model(b, synth.VAE)))
	defer e.Close()
	_, err := e.SetLoRAs(b.Context(), []inference.LoRA{{Path: model(b, synth.LoRA), UNet: 1}})
	require.NoError(b, err)
	for b.Loop() {
		require.True(b, e.Renew())
	}
}

// The config beside a checkpoint says how its weights are meant: a new one, another
// one and none make the checkpoint be read again.
func TestAConfigIsHeededAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "model.safetensors")
	require.NoError(t, os.Symlink(model(t, synth.Checkpoint), path))
	config := filepath.Join(filepath.Dir(path), "model.yaml")
	for _, step := range []struct {
		text string // "" removes it
		v    bool
	}{{"model: {params: {parameterization: v}}", true}, {"model: {params: {parameterization: eps}}", false}, {"", false}} {
		e := open(t, sdcpp.Options{Checkpoint: path})
		require.True(t, e.Renew())
		if step.text == "" {
			require.NoError(t, os.Remove(config))
		} else {
			require.NoError(t, os.WriteFile(config, []byte(step.text), 0o600))
		}
		require.False(t, e.Renew())
		require.NoError(t, e.Close())
		e = open(t, sdcpp.Options{Checkpoint: path})
		require.True(t, e.Renew())
		require.Equal(t, step.v, e.Info().VPrediction)
		require.NoError(t, e.Close())
	}
}

// Files that are gone show that none is read twice.
func TestManyControlNetsAreReadOnce(t *testing.T) {
	e := open(t, sdcpp.Options{Checkpoint: model(t, synth.Checkpoint)})
	defer e.Close()
	in := unetInput(4, 4)
	for range 5 {
		in.Control = append(in.Control, inference.ControlInput{
			Model: copied(t, synth.ControlNet), Hint: make([]float32, 3*32*32), Rows: []float32{0.2}, Layers: slices.Repeat([]float32{1}, inference.ControlLayers),
		})
	}
	want, err := e.PredictNoise(t.Context(), in)
	require.NoError(t, err)
	for _, u := range in.Control {
		require.NoError(t, os.Remove(u.Model))
	}
	got, err := e.PredictNoise(t.Context(), in)
	require.NoError(t, err)
	require.True(t, slices.Equal(want, got))
	in.Control = slices.Repeat(in.Control[:1], inference.MaxControlUnits+1)
	_, err = e.PredictNoise(t.Context(), in)
	require.ErrorContains(t, err, "at most 10")
}
