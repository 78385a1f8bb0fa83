package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"image/png"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/charmbracelet/x/ansi/sixel"
	"github.com/stretchr/testify/require"

	"sdworker/inference/imageio"
	"sdworker/inference/sdcpp"
	"sdworker/internal/cli"
	"sdworker/models/synth"
)

func TestInfo(t *testing.T) {
	newHome(t)
	require.Equal(t, cli.StatusOK, worker(t, catArgs("--output", "cat.png")...).status)
	got := worker(t, "info", "cat.png")
	require.Equal(t, cli.StatusOK, got.status, got.err)
	require.Equal(t, "cat.png, 64x72\n"+catText+"\n", got.out)
	var f pictureFile
	require.NoError(t, json.Unmarshal([]byte(worker(t, "info", "--json", "cat.png").out), &f))
	require.Equal(t, catText, f.Parameters)
	require.Equal(t, "42", f.Fields["Seed"])

	// Neither silence nor control characters reach the terminal.
	require.NoError(t, os.WriteFile("evil.png", pictureWith(t, "a \x1b]0;title\a cat\nSteps: 1, Sampler: Euler, Seed: 1"), 0o600))
	got = worker(t, "info", "evil.png")
	require.NotContains(t, got.out, "\x1b")
	require.Contains(t, got.out, `"a \x1b]0;title\a cat"`)
	require.NoError(t, os.WriteFile("foreign.png", pictureWith(t, "a dog\nSteps: 3, Sampler: DPM++ 4M, Schedule type: Turbo, Seed: 5, Size: 64x64"), 0o600))
	got = worker(t, "generate", "--from", "foreign.png", "--output", "six.png")
	require.Equal(t, cli.StatusOK, got.status, got.err)
	require.Contains(t, got.err, "note: the parameters name the sampler 'DPM++ 4M', which is not here; DPM++ 2M is used")
	require.Contains(t, got.err, "note: the parameters name the schedule 'Turbo', which is not here")
	got = worker(t, "generate", "--from", "foreign.png", "--sampler", "Euler", "--scheduler", "Karras", "--output", "seven.png")
	require.Equal(t, cli.StatusOK, got.status, got.err)
	require.NotContains(t, got.err, "which is not here")

	require.NoError(t, os.WriteFile("bare.png", edges(t), 0o600))
	require.Contains(t, worker(t, "info", "bare.png").out, "carries no parameters")
	require.NoError(t, os.WriteFile("no.png", []byte("text"), 0o600))
	got = worker(t, "info", "no.png", "absent.png", "cat.png")
	require.Equal(t, cli.StatusError, got.status)
	require.Contains(t, got.err, "no.png is no picture that can be read")
	require.Contains(t, got.err, "absent.png")
	require.Contains(t, got.out, catText, "the others are told")
}

// The same picture comes again, byte for byte, and flags change what they name.
func TestGenerateFrom(t *testing.T) {
	newHome(t)
	require.Equal(t, cli.StatusOK, worker(t, catArgs("--output", "one.png", "--clip-skip", "2", "--scheduler", "Exponential", "--subseed", "7", "--subseed-strength", "0.5",
		"--enable-hr", "--hr-upscaler", "Latent", "--denoising-strength", "0.4")...).status)
	got := worker(t, "generate", "--from", "one.png", "--output", "two.png")
	require.Equal(t, cli.StatusOK, got.status, got.err)
	require.NotContains(t, got.err, "note:")
	one, err := os.ReadFile("one.png")
	require.NoError(t, err)
	two, err := os.ReadFile("two.png")
	require.NoError(t, err)
	require.True(t, bytes.Equal(one, two), "%s\n%s", parametersOf(t, "one.png"), parametersOf(t, "two.png"))

	got = worker(t, "generate", "--from", "one.png", "--output", "three.png", "--seed", "43", "--clip-skip", "1", "--steps", "5")
	require.Equal(t, cli.StatusOK, got.status, got.err)
	want := strings.NewReplacer("Seed: 42", "Seed: 43", ", Clip skip: 2", "", "Steps: 4", "Steps: 5").Replace(parametersOf(t, "one.png"))
	require.Equal(t, want, parametersOf(t, "three.png"))

	// What cannot be taken over is told.
	require.NoError(t, os.WriteFile("other.png", pictureWith(t, "a dog\nSteps: 3, Sampler: Euler a, Seed: 5, Size: 64x64, Model hash: 0123456789, Model: other, Denoising strength: 0.5"), 0o600))
	got = worker(t, "generate", "--from", "other.png", "--output", "four.png")
	require.Equal(t, cli.StatusOK, got.status, got.err)
	require.Contains(t, got.err, "note: the picture's checkpoint other 0123456789 is not here")
	require.Contains(t, got.err, "name it with --init-image")
	require.NotContains(t, parametersOf(t, "four.png"), "Denoising")
	got = worker(t, "generate", "--from", "other.png", "--init-image", "one.png", "--output", "five.png")
	require.Equal(t, cli.StatusOK, got.status, got.err)
	require.Contains(t, parametersOf(t, "five.png"), "a dog\nSteps: 3, Sampler: Euler a")
	require.Contains(t, parametersOf(t, "five.png"), "Denoising strength: 0.5")

	require.NoError(t, os.WriteFile("bare.png", edges(t), 0o600))
	got = worker(t, "generate", "--from", "bare.png")
	require.Equal(t, cli.StatusError, got.status)
	require.Contains(t, got.err, "bare.png carries no parameters")
}

func TestTerminalsThatShowPictures(t *testing.T) {
	data := edges(t)
	for _, tc := range []struct {
		environ map[string]string
		start   string // of what is written
		refusal string
	}{
		{map[string]string{"TERM": "xterm-kitty"}, "\x1b_Ga=T,f=100,m=0;", ""},
		{map[string]string{"TERM": "xterm-256color", "KITTY_WINDOW_ID": "1"}, "\x1b_G", ""},
		{map[string]string{"TERM_PROGRAM": "iTerm.app"}, "\x1b]1337;File=inline=1;size=", ""},
		{map[string]string{"TERM_PROGRAM": "WezTerm"}, "\x1b]1337;", ""},
		{map[string]string{"TERM": "foot"}, "\x1bP", ""},
		{map[string]string{"TERM": "xterm-kitty", "TMUX": "/tmp/tmux"}, "", "does not work inside tmux"},
		{map[string]string{"TERM": "screen-256color"}, "", "does not work inside tmux and screen"},
		{map[string]string{"TERM": "xterm-256color"}, "", `TERM is "xterm-256color"`},
		{nil, "", "knows no way"},
	} {
		show, err := showingIn(tc.environ)
		if tc.refusal != "" {
			require.ErrorContains(t, err, tc.refusal)
			continue
		}
		require.NoError(t, err)
		var out bytes.Buffer
		require.NoError(t, show(&out, data))
		require.True(t, strings.HasPrefix(out.String(), tc.start), "%v: %q", tc.environ, out.String()[:20])
	}
	got := worker(t, "generate", "--prompt", "a", "--show")
	require.Equal(t, cli.StatusUsage, got.status)
	require.Contains(t, got.err, "--show needs a terminal")
}

// What terminals get is the picture.
func TestShownPictures(t *testing.T) {
	noise := imageio.NewRGB(96, 80)
	for i := range noise.Pix {
		noise.Pix[i] = uint8(i * i >> 3)
	}
	data, err := imageio.EncodePNG(noise)
	require.NoError(t, err)
	require.Greater(t, base64.StdEncoding.EncodedLen(len(data)), 2*kittyChunk)

	var out bytes.Buffer
	require.NoError(t, showKitty(&out, data))
	var payload string
	parts := strings.Split(strings.TrimSpace(out.String()), "\x1b\\")
	for i, part := range parts[:len(parts)-1] {
		head, chunk, ok := strings.Cut(part, ";")
		require.True(t, ok)
		require.LessOrEqual(t, len(chunk), kittyChunk)
		require.Equal(t, i == len(parts)-2, strings.HasSuffix(head, "m=0"), "only the last one says that there is no more")
		payload += chunk
	}
	require.Equal(t, base64.StdEncoding.EncodeToString(data), payload)

	out.Reset()
	require.NoError(t, showITerm(&out, data))
	_, body, _ := strings.Cut(strings.TrimSuffix(out.String(), "\a\n"), ":")
	require.Equal(t, payload, body)

	out.Reset()
	require.NoError(t, showSixel(&out, edges(t)))
	drawn := strings.TrimSuffix(strings.TrimPrefix(out.String(), "\x1bPq"), "\x1b\\\n")
	m, err := new(sixel.Decoder).Decode(strings.NewReader(drawn))
	require.NoError(t, err)
	want, err := png.Decode(bytes.NewReader(edges(t)))
	require.NoError(t, err)
	for _, at := range [][2]int{{5, 5}, {30, 30}, {43, 20}, {44, 20}} {
		r, _, _, _ := m.At(at[0], at[1]).RGBA()
		expected, _, _, _ := want.At(at[0], at[1]).RGBA()
		require.InDelta(t, float64(expected)/65535, float64(r)/65535, 0.01, at)
	}
}

func TestDoctor(t *testing.T) {
	home := newHome(t)
	require.NoError(t, synth.Write(t.Context(), filepath.Join("models", "Stable-diffusion", "tiny.safetensors"), synth.Options{}))
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer busy.Close()

	findings := func(args ...string) map[string]finding {
		got := worker(t, append([]string{"doctor", "--json"}, args...)...)
		var list []finding
		require.NoError(t, json.Unmarshal([]byte(got.out), &list), got.err)
		out, bad := map[string]finding{}, 0
		for _, f := range list {
			out[f.Check] = f
			if f.Severity == problem {
				bad++
				require.NotEmpty(t, f.Advice, f.Text)
			}
		}
		require.Equal(t, bad > 0, got.status == cli.StatusError, "the status says whether there is a problem")
		return out
	}
	f := findings("--addr", busy.Addr().String())
	require.Equal(t, problem, f["port"].Severity)
	require.Contains(t, f["port"].Text, busy.Addr().String())
	require.Equal(t, fine, f["model"].Severity, f["model"].Text)
	require.Contains(t, f["model"].Text, filepath.Join(home, "models/Stable-diffusion/tiny.safetensors"))
	require.Equal(t, fine, f["folders"].Severity)
	f = findings("--addr", "127.0.0.1:0", "--models-dir", "absent", "--model", "nothing")
	require.Equal(t, fine, f["port"].Severity)
	require.Contains(t, f["folders"].Text, "MODELS_DIR names absent")
	require.Contains(t, f["model"].Text, `"nothing"`)
	require.NoError(t, os.WriteFile("broken.safetensors", []byte("broken"), 0o600))
	f = findings("--model", "broken.safetensors", "--addr", "127.0.0.1:0")
	require.Equal(t, problem, f["model"].Severity)
	require.Contains(t, f["model"].Advice, "worker models verify")

	f = findings("--addr", "127.0.0.1:0", "--output-dir", "broken.safetensors/pictures")
	require.Equal(t, note, f["writing"].Severity, "a file is no folder")
	require.Contains(t, f["writing"].Text, "broken.safetensors/pictures cannot be written to: requests with save_images fail")
	require.Equal(t, note, findings("--addr", "127.0.0.1:0", "--demo")["model"].Severity)
	require.NoError(t, os.RemoveAll("models"))
	require.Contains(t, findings("--addr", "127.0.0.1:0")["model"].Text, "demo model")
	f = findings("--addr", "127.0.0.1:0", "--demo=false")
	require.Equal(t, problem, f["model"].Severity, f["model"].Text)

	require.Equal(t, problem, new(doctorCommand).memory(2<<30).Severity)
	require.Equal(t, fine, new(doctorCommand).memory(4<<30).Severity)
}

// The devices that other machines have.
func TestDoctorOnDevices(t *testing.T) {
	gpu := sdcpp.Device{Name: "CUDA0", Description: "NVIDIA L4", GPU: true, FreeBytes: 20 << 30, TotalBytes: 22 << 30}
	cpu := sdcpp.Device{Name: "CPU", Description: "a processor"}
	software := sdcpp.Device{Name: "Vulkan0", Description: "llvmpipe", Software: true, TotalBytes: 8 << 30}
	engine := func(devices ...sdcpp.Device) sdcpp.Build {
		return sdcpp.Build{Backend: "cuda", Devices: devices}
	}
	for name, tc := range map[string]struct {
		build  build
		wanted string
		bad    string // part of the problem, "" for none
	}{
		"none":       {build{Engine: sdcpp.Build{Backend: "none"}}, "auto", "built without the engine"},
		"gpu":        {build{Engine: engine(gpu, cpu), CUDA: &sdcpp.CUDA{Runtime: 124, Driver: 126, Devices: []sdcpp.Dotted{89}, Architectures: []sdcpp.Dotted{89}}}, "auto", ""},
		"no driver":  {build{Engine: engine(cpu), CUDA: &sdcpp.CUDA{Runtime: 124}}, "auto", "there is no driver"},
		"old driver": {build{Engine: engine(cpu), CUDA: &sdcpp.CUDA{Runtime: 124, Driver: 118, Problem: "too old"}}, "auto", "driver is too old"},
		"cpu wanted": {build{Engine: engine(cpu), CUDA: &sdcpp.CUDA{Runtime: 124}}, "cpu", ""},
		"software":   {build{Engine: sdcpp.Build{Backend: "vulkan", NoGPU: "there are software devices only", Devices: []sdcpp.Device{software, cpu}}}, "vulkan0", ""},
		"no Vulkan":  {build{Engine: sdcpp.Build{Backend: "vulkan", NoGPU: "libvulkan.so.1 is missing", Devices: []sdcpp.Device{cpu}}}, "vulkan0", `"vulkan0"`},
		"absent":     {build{Engine: sdcpp.Build{Backend: "cpu", Devices: []sdcpp.Device{cpu}}}, "cuda1", `"cuda1"`},
	} {
		var problems []string
		for _, f := range tc.build.diagnose([]string{tc.wanted}) {
			if f.Severity == problem {
				problems = append(problems, f.Text)
			}
		}
		if tc.bad == "" {
			require.Empty(t, problems, name)
			continue
		}
		require.Len(t, problems, 1, name)
		require.Contains(t, problems[0], tc.bad, name)
	}
}

// What Vulkan lacks is told with what to do about it.
func TestDoctorOnVulkan(t *testing.T) {
	software := sdcpp.Device{Name: "Vulkan0", Description: "llvmpipe", Software: true}
	cpu := sdcpp.Device{Name: "CPU", Description: "a processor"}
	b := build{Engine: sdcpp.Build{Backend: "vulkan", NoGPU: "libvulkan.so.1 is missing", Devices: []sdcpp.Device{cpu}}}
	last := func(wanted string) finding {
		f := b.diagnose([]string{wanted})
		return f[len(f)-1]
	}
	f := last("auto")
	require.Equal(t, note, f.Severity)
	require.Contains(t, f.Text, "Vulkan has none: libvulkan.so.1 is missing")
	require.Regexp(t, "mesa-vulkan-drivers|renderD128", f.Advice)
	require.NotContains(t, f.Advice, "NVIDIA")

	b.Engine.NoGPU, b.Engine.Devices = "there are software devices only", []sdcpp.Device{software, cpu}
	require.Contains(t, last("auto").Text, "software devices only")
	texts := ""
	for _, f := range b.diagnose([]string{"vulkan0"}) {
		require.NotEqual(t, problem, f.Severity)
		texts += f.Text + "\n"
	}
	require.Contains(t, texts, "Vulkan0: llvmpipe, software\n")
	require.Contains(t, texts, "Vulkan0 is a program for the CPU")
}
