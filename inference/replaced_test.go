package inference_test

import (
	"context"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/fault"
	"sdworker/inference"
	"sdworker/inference/enginetest"
	"sdworker/inference/imageio"
	"sdworker/internal/fileid"
)

// write puts a file in the place of another, as a rename does.
func write(t *testing.T, path, content string) {
	t.Helper()
	require.NoError(t, os.WriteFile(path+".tmp", []byte(content), 0o600))
	require.NoError(t, os.Rename(path+".tmp", path))
}

// filePipeline returns a pipeline whose fakes read real files.
func filePipeline(t *testing.T, before func(path string) enginetest.Hook) *inference.Pipeline {
	t.Helper()
	p := inference.NewPipeline(func(_ context.Context, checkpoint string, _ func(done, total int)) (inference.Engine, error) {
		if _, err := os.Stat(checkpoint); err != nil {
			return nil, fault.Errorf(fault.NotFound, "open", "there is no file %s", checkpoint)
		}
		f := &enginetest.Fake{Description: inference.EngineInfo{Checkpoint: checkpoint}}
		if before != nil {
			f.Before = before(checkpoint)
		}
		return f, nil
	}, inference.PipelineOptions{})
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	return p
}

func TestReplacedFilesActInTheNextJob(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	for _, name := range []string{"a.safetensors", "v.safetensors", "l.safetensors", "c.safetensors"} {
		write(t, at(name), "one")
	}
	req := txt2img(func(r *inference.Request) {
		r.Prompt = "a cat <lora:l:1>"
		r.Files = inference.Files{Checkpoint: at("a.safetensors"), VAE: at("v.safetensors"), LoRAs: map[string]string{"l": at("l.safetensors")}}
		r.Control = []inference.ControlUnit{{
			Model: at("c.safetensors"), Module: "none", Image: imageio.Fill(64, 48, [3]uint8{9, 90, 200}), Weight: 1, End: 1, LowRes: true,
		}}
	})
	p := filePipeline(t, nil)
	paint := func() *inference.Result {
		res, err := p.Generate(t.Context(), req, inference.Hooks{})
		require.NoError(t, err)
		return res
	}
	old := paint()
	for _, name := range []string{"a.safetensors", "v.safetensors", "l.safetensors", "c.safetensors"} {
		write(t, at(name), "two")
		got := paint()
		require.False(t, reflect.DeepEqual(old.Images, got.Images), "%s: the old weights", name)
		require.True(t, reflect.DeepEqual(got.Images, paint().Images), name)
		fresh := filePipeline(t, nil)
		want, err := fresh.Generate(t.Context(), req, inference.Hooks{})
		require.NoError(t, err)
		require.True(t, reflect.DeepEqual(want.Images, got.Images), "%s: not what a new process paints", name)
		if name != "c.safetensors" {
			id, err := fileid.Stat(at(name))
			require.NoError(t, err)
			require.Contains(t, got.Files, id)
		}
		old = got
	}
	for _, name := range []string{"a.safetensors", "v.safetensors", "c.safetensors"} {
		require.NoError(t, os.Remove(at(name)))
	}
	require.True(t, reflect.DeepEqual(old.Images, paint().Images), "what is gone stays in use")
	require.Equal(t, at("a.safetensors"), p.Status().Engine.Checkpoint)
}

// The text states of a LoRA's old version must not come out of the cache.
func TestTextStatesBelongToAVersion(t *testing.T) {
	dir := t.TempDir()
	checkpoint, lora := filepath.Join(dir, "a.safetensors"), filepath.Join(dir, "l.safetensors")
	write(t, checkpoint, "one")
	p := filePipeline(t, nil)
	paint := func(prompt string) []inference.Image {
		res, err := p.Generate(t.Context(), txt2img(func(r *inference.Request) {
			r.Prompt = prompt
			r.Files = inference.Files{Checkpoint: checkpoint, LoRAs: map[string]string{"l": lora}}
		}), inference.Hooks{})
		require.NoError(t, err)
		return res.Images
	}
	const with = "a cat <lora:l:0:1>" // the text encoder alone
	write(t, lora, "one")
	one := paint(with)
	paint("a cat")
	write(t, lora, "two")
	two := paint(with)
	require.False(t, reflect.DeepEqual(one, two))
	paint("a cat")
	write(t, lora, "one")
	require.True(t, reflect.DeepEqual(one, paint(with)))
}

// A checkpoint that is replaced between two loads of one job must not make it.
func TestACheckpointReplacedWithinAJobFailsIt(t *testing.T) {
	dir := t.TempDir()
	first, second := filepath.Join(dir, "a.safetensors"), filepath.Join(dir, "b.safetensors")
	write(t, first, "one")
	write(t, second, "one")
	p := filePipeline(t, func(path string) enginetest.Hook {
		return func(_ context.Context, c enginetest.Call) error {
			if path == second && c.Op == enginetest.OpDecode && c.Index == 0 {
				write(t, first, "two")
			}
			return nil
		}
	})
	req := txt2img(func(r *inference.Request) {
		r.BatchNum = 2
		r.Files.Checkpoint = first
		r.Hires = &inference.Hires{
			Width: 128, Height: 96, Upscaler: "Latent", Sampler: "Euler a", Prompt: r.Prompt, NegativePrompt: r.NegativePrompt, Checkpoint: second, CFGScale: 7,
		}
		r.DenoisingStrength = 0.5
	})
	_, err := p.Generate(t.Context(), req, inference.Hooks{})
	require.Equal(t, fault.Busy, fault.CodeOf(err), "%v", err)
	require.ErrorContains(t, err, first)
}
