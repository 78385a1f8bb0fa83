package main

import (
	"bytes"
	"context"
	"encoding/json"
	"image"
	"image/draw"
	_ "image/jpeg" // for image.Decode
	"image/png"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/fault"
	"sdworker/inference"
	"sdworker/inference/enginetest"
	"sdworker/inference/imageio"
	"sdworker/internal/cli"
	"sdworker/internal/disktest"
)

// catArgs ask for a picture that takes no time.
func catArgs(more ...string) []string {
	return append([]string{"generate", "--prompt", "a cat, (wide:1.2)", "--negative-prompt", "dog", "--steps", "4", "--width", "64", "--height", "72", "--seed", "42"}, more...)
}

// catText is what A1111 writes for catArgs.
const catText = `a cat, (wide:1.2)
Negative prompt: dog
Steps: 4, Sampler: Euler, CFG scale: 7.0, Seed: 42, Size: 64x72, Model hash: 2188bfba5d, Model: tiny, Version: v1.9.3`

// parametersOf reads the text that a picture file carries.
func parametersOf(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	return imageio.ReadInfo(data).Parameters
}

func requirePicture(t *testing.T, data []byte, format string, width, height int) {
	t.Helper()
	config, got, err := image.DecodeConfig(bytes.NewReader(data))
	require.NoError(t, err)
	require.Equal(t, format, got)
	require.Equal(t, [2]int{width, height}, [2]int{config.Width, config.Height})
}

func TestGenerateTellsWhatItMade(t *testing.T) {
	newHome(t)
	got := worker(t, catArgs("--output", "cat.png")...)
	require.Equal(t, cli.StatusOK, got.status, got.err)
	require.Equal(t, "cat.png\n", got.out)
	require.Equal(t, catText, parametersOf(t, "cat.png"))
	data, err := os.ReadFile("cat.png")
	require.NoError(t, err)
	requirePicture(t, data, "png", 64, 72)

	// No terminal: plain lines, in the order of the work, then the parameters.
	var phases []string
	lines := strings.Split(strings.TrimSuffix(got.err, "\n"), "\n")
	for _, line := range lines[:len(lines)-3] {
		require.NotContains(t, line, "\r")
		require.NotContains(t, line, "\x1b")
		if phase := strings.TrimRight(line, " 0123456789/.,itslef"); len(phases) == 0 || phases[len(phases)-1] != phase {
			phases = append(phases, phase)
		}
	}
	require.Equal(t, []string{"loading", "encoding promp", "sampling", "decoding"}, phases)
	require.Regexp(t, `(?m)^sampling 4/4, \d+\.\d\d it/s, 0s left$`, got.err)
	require.Equal(t, catText, strings.Join(lines[len(lines)-3:], "\n"))
}

func TestGenerateQuietly(t *testing.T) {
	newHome(t)
	got := worker(t, catArgs("--output", "cat.png", "--quiet")...)
	require.Equal(t, outcome{cli.StatusOK, "cat.png\n", ""}, got)
}

func TestGenerateAsJSON(t *testing.T) {
	newHome(t)
	got := worker(t, catArgs("--output", "out", "--json", "--n-iter", "2")...)
	require.Equal(t, cli.StatusOK, got.status, got.err)
	var r report
	dec := json.NewDecoder(strings.NewReader(got.out))
	dec.DisallowUnknownFields()
	require.NoError(t, dec.Decode(&r))
	require.EqualValues(t, 42, r.Seed)
	require.Len(t, r.Images, 2)
	require.Equal(t, reportImage{"out/00000-42.png", 42, catText}, r.Images[0])
	require.EqualValues(t, 43, r.Images[1].Seed)
	for _, phase := range []string{"load", "encode", "sample", "decode", "upscale", "total"} {
		require.Contains(t, r.Seconds, phase)
	}
	require.Positive(t, r.Seconds["total"])
}

func TestGenerateOutput(t *testing.T) {
	home := newHome(t)
	t.Run("numbered in a folder", func(t *testing.T) {
		for _, want := range []string{"out/00000-42.png\nout/00001-43.png\n", "out/00002-42.png\nout/00003-43.png\n"} {
			got := worker(t, catArgs("--output", "out/", "--batch-size", "2")...)
			require.Equal(t, cli.StatusOK, got.status, got.err)
			require.Equal(t, want, got.out)
			require.Contains(t, got.err, "\nSeed of picture 2: 43\n")
		}
	})
	t.Run("several for one name", func(t *testing.T) {
		got := worker(t, catArgs("--output", "two.jpeg", "--n-iter", "2")...)
		require.Equal(t, "two-1.jpeg\ntwo-2.jpeg\n", got.out, got.err)
	})
	t.Run("the working folder", func(t *testing.T) {
		require.Equal(t, "00000-42.png\n", worker(t, catArgs()...).out)
	})
	t.Run("standard output", func(t *testing.T) {
		got := worker(t, catArgs("--output", "-")...)
		require.Equal(t, cli.StatusOK, got.status, got.err)
		requirePicture(t, []byte(got.out), "png", 64, 72)
		require.Contains(t, got.err, catText)
		got = worker(t, catArgs("--output", "-", "--quiet")...)
		requirePicture(t, []byte(got.out), "png", 64, 72)
		require.Empty(t, got.err)
		got = worker(t, catArgs("--output", "-", "--quiet", "--json", "--format", "jpeg")...)
		requirePicture(t, []byte(got.out), "jpeg", 64, 72)
		require.Contains(t, got.err, `"path": "-"`)
	})
	t.Run("format", func(t *testing.T) {
		for _, tc := range []struct{ name, flag, format string }{
			{"a.jpg", "", "jpeg"}, {"b.JPEG", "", "jpeg"}, {"c.webp", "", ""}, {"d.png", "", "png"}, {"e.img", "", "png"}, {"f.png", "jpeg", "jpeg"},
		} {
			args := catArgs("--output", tc.name)
			if tc.flag != "" {
				args = append(args, "--format", tc.flag)
			}
			got := worker(t, args...)
			require.Equal(t, cli.StatusOK, got.status, got.err)
			require.Equal(t, catText, parametersOf(t, tc.name), tc.name)
			if tc.format != "" {
				data, err := os.ReadFile(tc.name)
				require.NoError(t, err)
				requirePicture(t, data, tc.format, 64, 72)
			}
		}
	})
	t.Run("no half files", func(t *testing.T) {
		left, err := filepath.Glob(filepath.Join(home, ".worker-*"))
		require.NoError(t, err)
		require.Empty(t, left)
	})
	t.Run("a folder that cannot be made", func(t *testing.T) {
		got := worker(t, catArgs("--output", "/proc/nothing/")...)
		require.Equal(t, cli.StatusError, got.status)
		require.Contains(t, got.err, "the output folder cannot be made")
	})
}

func TestGenerateRandomSeedIsPrinted(t *testing.T) {
	newHome(t)
	got := worker(t, catArgs("--output", "cat.png", "--seed", "-1")...)
	require.Equal(t, cli.StatusOK, got.status, got.err)
	require.Regexp(t, `Seed: \d+, Size`, got.err)
	again := worker(t, catArgs("--output", "again.png", "--seed", "-1")...)
	require.NotEqual(t, parametersOf(t, "cat.png"), parametersOf(t, "again.png"))
	require.Equal(t, cli.StatusOK, again.status)
}

// Fields reach the API under its names, and only those that were given.
func TestGenerateFields(t *testing.T) {
	newHome(t)
	got := worker(t, catArgs("--output", "cat.png", "--sampler", "DPM++ 2M", "--scheduler", "karras", "--cfg-scale", "4.5",
		"--clip-skip", "2", "--tiling", "--subseed", "7", "--subseed-strength", "0.5")...)
	require.Equal(t, cli.StatusOK, got.status, got.err)
	require.Equal(t, `a cat, (wide:1.2)
Negative prompt: dog
Steps: 4, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 4.5, Seed: 42, Size: 64x72, Model hash: 2188bfba5d, Model: tiny, Variation seed: 7, Variation seed strength: 0.5, Clip skip: 2, Tiling: True, Version: v1.9.3`,
		parametersOf(t, "cat.png"))

	got = worker(t, "generate", "--prompt", "a {cat}", "--seed", "1", "--steps", "2", "--width", "64", "--height", "64", "--dynamic-prompts", "--output", "variant.png")
	require.Equal(t, cli.StatusOK, got.status, got.err)
	require.True(t, strings.HasPrefix(parametersOf(t, "variant.png"), "a cat\n"), parametersOf(t, "variant.png"))

	got = worker(t, catArgs("--output", "large.png", "--enable-hr", "--hr-scale", "2", "--hr-upscaler", "Latent", "--denoising-strength", "0.5")...)
	require.Equal(t, cli.StatusOK, got.status, got.err)
	require.Contains(t, parametersOf(t, "large.png"), "Hires upscale: 2.0, Hires upscaler: Latent")
	require.Contains(t, got.err, "sampling 1/2 4/4")
	data, err := os.ReadFile("large.png")
	require.NoError(t, err)
	requirePicture(t, data, "png", 128, 144)
}

func TestGenerateFromAPicture(t *testing.T) {
	newHome(t)
	var source bytes.Buffer
	white := image.NewGray(image.Rect(0, 0, 64, 72))
	draw.Draw(white, white.Rect, image.White, image.Point{}, draw.Src)
	require.NoError(t, png.Encode(&source, white))
	require.NoError(t, os.WriteFile("source.png", source.Bytes(), 0o600))

	got := worker(t, catArgs("--output", "a.png", "--init-image", "source.png", "--denoising-strength", "0.5")...)
	require.Equal(t, cli.StatusOK, got.status, got.err)
	require.Contains(t, parametersOf(t, "a.png"), "Denoising strength: 0.5")
	got = workerWith(t, func(p *program) { p.In = bytes.NewReader(source.Bytes()) },
		catArgs("--output", "b.png", "--init-image", "-", "--denoising-strength", "0.5", "--mask", "source.png", "--mask-blur", "2")...)
	require.Equal(t, cli.StatusOK, got.status, got.err)
	require.Contains(t, parametersOf(t, "b.png"), "Mask blur: 2")
	got = worker(t, "generate", "--output", "c.png", "--init-image", "source.png", "--steps", "2", "--width", "64", "--height", "64")
	require.Equal(t, cli.StatusOK, got.status, "a picture may do without a prompt: %s", got.err)

	require.NoError(t, os.WriteFile("text.png", []byte("no picture"), 0o600))
	got = worker(t, catArgs("--output", "d.png", "--init-image", "text.png")...)
	require.NotEqual(t, cli.StatusOK, got.status)
	require.Contains(t, got.err, "Invalid encoded image")
	require.NoFileExists(t, "d.png")
}

func TestGenerateFailures(t *testing.T) {
	newHome(t)
	require.NoError(t, os.WriteFile("broken.safetensors", []byte("broken"), 0o600))
	got := worker(t, catArgs("--model", "broken.safetensors", "--output", "cat.png")...)
	require.Equal(t, cli.StatusError, got.status, got.err)
	require.Contains(t, got.err, "broken.safetensors is of no known model format")
	require.NoFileExists(t, "cat.png")

	// A file that the options name is no mistake in the flags, either.
	require.NoError(t, os.WriteFile(filepath.Join("models", "Stable-diffusion", "broken.safetensors"), []byte("broken"), 0o600))
	require.NoError(t, os.WriteFile("options.json", []byte(`{"sd_model_checkpoint": "broken.safetensors"}`), 0o600))
	got = worker(t, catArgs("--options-file", "options.json", "--output", "cat.png")...)
	require.Equal(t, cli.StatusError, got.status, got.err)
	require.Contains(t, got.err, "broken.safetensors is ")
	require.NotContains(t, got.err, "--help")

	got = workerWith(t, func(p *program) {
		p.open = fakeWith(func(_ context.Context, c enginetest.Call) error {
			if c.Op != enginetest.OpPredictNoise {
				return nil
			}
			return fault.Errorf(fault.Exhausted, "unet", "not enough memory for the UNet at this size")
		})
	}, catArgs("--output", "cat.png")...)
	require.Equal(t, cli.StatusError, got.status)
	require.Contains(t, got.err, "not enough memory for the UNet at this size")
	require.NoFileExists(t, "cat.png")
}

// fakeWith loads Fakes with a hook.
func fakeWith(hook enginetest.Hook) inference.OpenFunc {
	return func(_ context.Context, checkpoint string, _ func(int, int)) (inference.Engine, error) {
		return &enginetest.Fake{Description: inference.EngineInfo{Checkpoint: checkpoint}, Before: hook}, nil
	}
}

func TestGenerateStopsWithinAStep(t *testing.T) {
	home := newHome(t)
	for _, sig := range []struct {
		signal syscall.Signal
		status int
	}{{syscall.SIGINT, 130}, {syscall.SIGTERM, 143}} {
		g := newGate(t, enginetest.OpPredictNoise)
		cmd := exec.Command("/proc/self/exe", catArgs("--output", "cat.png")...)
		for name, value := range environ(home, g.environ()) {
			cmd.Env = append(cmd.Env, name+"="+value)
		}
		var out, errOut bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errOut
		require.NoError(t, cmd.Start())
		g.next().release()
		g.next() // the second step
		require.NoError(t, cmd.Process.Signal(sig.signal))
		_ = cmd.Wait() // the status tells
		require.Equal(t, sig.status, cmd.ProcessState.ExitCode(), errOut.String())
		require.Empty(t, out.String())
		require.True(t, strings.HasSuffix(errOut.String(), "worker: "+sig.signal.String()+"\n"), errOut.String())
		require.NoFileExists(t, "cat.png")
	}
}

// The shades of a mask count, as they do when the picture's parameters are reused.
func TestGenerateWithSoftInpainting(t *testing.T) {
	newHome(t)
	require.Equal(t, cli.StatusOK, worker(t, catArgs("--output", "a.png")...).status)
	got := worker(t, catArgs("--output", "b.png", "--init-image", "a.png", "--mask", "a.png", "--soft-inpainting")...)
	require.Equal(t, cli.StatusOK, got.status, got.err)
	require.Contains(t, parametersOf(t, "b.png"), "Soft inpainting enabled: True, Soft inpainting schedule bias: 1")
	got = worker(t, "generate", "--from", "b.png", "--output", "c.png", "--init-image", "a.png", "--mask", "a.png")
	require.Equal(t, cli.StatusOK, got.status, got.err)
	require.Contains(t, parametersOf(t, "c.png"), "Soft inpainting enabled: True")
	got = worker(t, catArgs("--output", "d.png", "--soft-inpainting")...)
	require.Equal(t, cli.StatusUsage, got.status)
	require.Contains(t, got.err, "--soft-inpainting needs --mask")
}

// What a detector finds is painted again; what is left out is told.
func TestGenerateWithADetailer(t *testing.T) {
	model, err := os.ReadFile("../../inference/detect/testdata/detect.pt")
	require.NoError(t, err)
	newHome(t)
	require.NoError(t, os.MkdirAll("models/adetailer", 0o700))
	require.NoError(t, os.WriteFile("models/adetailer/face.pt", model, 0o600))
	got := worker(t, catArgs("--output", "cat.png", "--adetailer", "face.pt, hand.pt", "--adetailer-prompt", "[PROMPT], smiling")...)
	require.Equal(t, cli.StatusOK, got.status, got.err)
	require.Contains(t, got.err, "note: ADetailer model 'hand.pt' was not found")
	require.Contains(t, got.err, "there are face.pt\n")
	require.Contains(t, got.err, "note: ADetailer: face.pt found nothing in picture 1\n", "the scripted engine sees no objects")
	require.Contains(t, parametersOf(t, "cat.png"), `ADetailer model: face.pt, ADetailer prompt: "[PROMPT], smiling", ADetailer confidence: 0.3,`)
	require.Equal(t, cli.StatusOK, worker(t, "generate", "--from", "cat.png", "--output", "again.png").status)
	require.Equal(t, parametersOf(t, "cat.png"), strings.Replace(parametersOf(t, "again.png"), ", Schedule type: Automatic", "", 1))
}

// TestFilesOnAFullDisk: what verbs write is there whole or not at all, and they say so.
func TestFilesOnAFullDisk(t *testing.T) {
	if !disktest.OwnProcess(t) {
		return
	}
	newHome(t)
	for _, args := range [][]string{
		catArgs("--output", "cat.png"),
		{"models", "synth", "--kind", "lora", "cat.png"},
		{"models", "synth", "--kind", "demo-lora", "cat.png"},
	} {
		free := disktest.Fill(t, 100)
		got := worker(t, args...)
		free()
		require.NotEqual(t, cli.StatusOK, got.status, "%v", args)
		require.Contains(t, got.err, "file too large", "%v", args)
		require.NoError(t, filepath.WalkDir(".", func(path string, file fs.DirEntry, err error) error {
			require.False(t, file.Name() == "cat.png" || !file.IsDir() && strings.HasPrefix(file.Name(), "."), "%v leaves %s", args, path)
			return err
		}))
	}
	require.Equal(t, cli.StatusOK, worker(t, catArgs("--output", "cat.png")...).status)
}
