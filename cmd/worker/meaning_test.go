//go:build cgo && sdcpp

package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sdworker/inference/imageio"
	"sdworker/internal/cli"
	"sdworker/internal/judge"
	"sdworker/models/demo"
)

// What pictures of the demo model must show. Each claim is tested with the seeds
// firstSeed, firstSeed+1 and firstSeed+2, drawn as one batch.
const (
	meaningSide  = 128 // pixels; the model also draws 256, four times as slowly
	meaningSteps = 10
	meaningSeeds = 3
	most         = 2 // of the seeds must be right; the model is small, and so is the judge
	firstSeed    = 1
)

// artist draws with the demo model through worker serve.
type artist struct {
	t      *testing.T
	client *client
}

// body is a request.
type body map[string]any

// with is a copy with other fields.
func (b body) with(more body) body {
	out := maps.Clone(b)
	maps.Copy(out, more)
	return out
}

// ask is a request for the pictures of three seeds.
func ask(prompt string) body {
	return body{
		"prompt": prompt, "width": meaningSide, "height": meaningSide, "steps": meaningSteps, "sampler_name": "DPM++ 2M", "cfg_scale": 7,
		"seed": firstSeed, "batch_size": meaningSeeds,
	}
}

// post sends a request and returns the pictures as they came.
func (a *artist) post(path string, b body) []string {
	a.t.Helper()
	text, err := json.Marshal(b)
	require.NoError(a.t, err)
	return a.client.do(http.MethodPost, path, string(text)).images(a.t)
}

func (a *artist) draw(b body) []imageio.RGB {
	a.t.Helper()
	return pixels(a.t, a.post("/sdapi/v1/txt2img", b))
}

// pixels decodes pictures of a reply.
func pixels(t *testing.T, images []string) []imageio.RGB {
	t.Helper()
	var out []imageio.RGB
	for _, image := range images {
		data, err := base64.StdEncoding.DecodeString(image)
		require.NoError(t, err)
		d, err := imageio.Decode(data, 1<<24)
		require.NoError(t, err)
		out = append(out, d.RGB([3]uint8{}))
	}
	return out
}

// keep writes pictures to the folder SDWORKER_TEST_PICTURES, for people to look at.
func keep(t *testing.T, pictures []imageio.RGB) {
	t.Helper()
	dir := os.Getenv("SDWORKER_TEST_PICTURES")
	if dir == "" || len(pictures) == 0 {
		return
	}
	data, err := imageio.EncodePNG(imageio.Grid(pictures, 1))
	require.NoError(t, err)
	name := strings.NewReplacer("/", "-", " ", "_").Replace(t.Name())
	for i := 0; ; i++ {
		path := filepath.Join(dir, fmt.Sprintf("%s-%d.png", name, i))
		if _, err := os.Stat(path); err != nil {
			require.NoError(t, os.WriteFile(path, data, 0o600))
			return
		}
	}
}

// requireShown demands that at least some of the pictures pass a check of their
// verdict, and tells what the others show.
func requireShown(t *testing.T, least int, pictures []imageio.RGB, ok func(judge.Verdict) bool, what string) {
	t.Helper()
	keep(t, pictures)
	right := 0
	var seen []judge.Verdict
	for _, m := range pictures {
		v, err := judge.Look(m)
		require.NoError(t, err)
		seen = append(seen, v)
		if ok(v) {
			right++
		}
	}
	require.GreaterOrEqual(t, right, least, "%s: %+v", what, seen)
}

func object(name string) func(judge.Verdict) bool {
	return func(v judge.Verdict) bool { return v.Object == name }
}

func coloured(name string) func(judge.Verdict) bool {
	return func(v judge.Verdict) bool { return v.Colour == name }
}

func place(name string) func(judge.Verdict) bool {
	return func(v judge.Verdict) bool { return v.Place == name }
}

// difference is the mean distance of the values of two pictures, 0 to 255, where
// inside, unless nil, says true.
func difference(a, b imageio.RGB, inside func(x, y int) bool) float64 {
	var sum float64
	n := 0
	for i := range a.Pix {
		if inside == nil || inside(i/3%a.W, i/3/a.W) {
			sum += math.Abs(float64(a.Pix[i]) - float64(b.Pix[i]))
			n++
		}
	}
	return sum / float64(n)
}

// redness is by how much red outweighs the other colours, on average, 0 to 255.
func redness(m imageio.RGB) (sum float64) {
	for i := 0; i < len(m.Pix); i += 3 {
		sum += max(0, float64(m.Pix[i])-(float64(m.Pix[i+1])+float64(m.Pix[i+2]))/2) / float64(m.W*m.H)
	}
	return sum
}

// contrast is the deviation of all values.
func contrast(m imageio.RGB) float64 {
	middle := brightness(m)
	var squares float64
	for _, v := range m.Pix {
		squares += (float64(v) - middle) * (float64(v) - middle) / float64(len(m.Pix))
	}
	return math.Sqrt(squares)
}

func mean(pictures []imageio.RGB, of func(imageio.RGB) float64) (sum float64) {
	for _, m := range pictures {
		sum += of(m) / float64(len(pictures))
	}
	return sum
}

func png64(t *testing.T, m imageio.RGB) string {
	t.Helper()
	data, err := imageio.EncodePNG(m)
	require.NoError(t, err)
	return base64.StdEncoding.EncodeToString(data)
}

// drawing is longer than patience: these pictures take seconds each.
const drawing = 15 * time.Minute

// TestMeaning looks at pictures of the demo model: what a prompt, a sampler, a mask or
// a LoRA means must show.
func TestMeaning(t *testing.T) {
	if testing.Short() {
		t.Skip("it draws a hundred pictures")
	}
	home := t.TempDir()
	t.Chdir(home)
	variables := map[string]string{}
	for _, pair := range nativeEnviron(home) {
		name, value, _ := strings.Cut(pair, "=")
		variables[name] = value
	}
	for _, name := range []string{"THREADS", "OMP_WAIT_POLICY"} { // for a machine that others use, too
		variables[name] = os.Getenv(name)
	}
	r := begin(t, variables, "serve", "--demo", "--addr", "127.0.0.1:0")
	c := &client{t: t, base: r.await("listening on "), http: &http.Client{Timeout: drawing}, header: http.Header{}}
	defer c.http.CloseIdleConnections()
	c.ready()
	subject := func(name string, test func(t *testing.T, a *artist)) {
		t.Run(name, func(t *testing.T) {
			mine := *c
			mine.t = t
			test(t, &artist{t, &mine})
		})
	}

	subject("the prompt", testPrompt)
	subject("prompt language", testPromptLanguage)
	subject("regions", testRegions)
	subject("guidance", testGuidance)
	subject("images", testImages)
	subject("second pass", testSecondPass)
	subject("family", testFamily)
	subject("samplers", testSamplers)
	subject("other doors", testOtherDoors)

	t.Run("RunPod", func(t *testing.T) {
		place, err := (&program{Terminal: cli.Terminal{Environ: variables}}).demoPlace()
		require.NoError(t, err)
		input, err := json.Marshal(body{"input": ask("a yellow star at night").with(body{"batch_size": 1})})
		require.NoError(t, err)
		got := native(t, home, "runpod", "--model", place.Path(demo.Checkpoint), "--warm-up=false", "--test_input", string(input))
		require.Equal(t, cli.StatusOK, got.status, got.err)
		var output struct{ Images []string }
		require.NoError(t, json.Unmarshal([]byte(got.out), &output))
		requireShown(t, 1, pixels(t, output.Images), func(v judge.Verdict) bool { return v.Colour == "yellow" && v.Place == "night" }, "yellow at night")
	})
	r.signal(syscall.SIGTERM)
	require.Equal(t, cli.StatusOK, r.wait())
}

func testPrompt(t *testing.T, a *artist) {
	for prompt, want := range map[string]judge.Verdict{
		"a red mushroom in the snow":           {Object: "mushroom", Colour: "red", Place: "snow"},
		"a white cat on a blue background":     {Object: "cat", Colour: "white", Place: "blue"},
		"photo of a lovely yellow star, night": {Object: "star", Colour: "yellow", Place: "night"},
		"masterpiece, green tree, in desert":   {Object: "tree", Colour: "green", Place: "desert"},
	} {
		t.Run(prompt, func(t *testing.T) {
			pictures := a.draw(ask(prompt))
			requireShown(t, meaningSeeds, pictures, place(want.Place), "place")
			requireShown(t, meaningSeeds, pictures, coloured(want.Colour), "colour")
			requireShown(t, most, pictures, object(want.Object), "object")
		})
	}
	t.Run("nothing", func(t *testing.T) { // or the judge would see what it is asked for
		for _, m := range a.draw(ask("")) {
			v, err := judge.Look(m)
			require.NoError(t, err)
			require.NotEqual(t, judge.Verdict{Object: "mushroom", Colour: "red", Object2: judge.None, Colour2: judge.None, Place: "snow"}, v)
		}
	})
	for _, prompt := range []string{"a red house and a green tree", "a yellow star and a blue mushroom at night"} {
		t.Run(prompt, func(t *testing.T) { // two things need the room
			want, err := judge.Expect(prompt)
			require.NoError(t, err)
			pictures := a.draw(ask(prompt).with(body{"width": demo.Side, "height": demo.Side}))
			requireShown(t, most, pictures, func(v judge.Verdict) bool { return v == want }, prompt)
		})
	}
}

func testPromptLanguage(t *testing.T, a *artist) {
	t.Run("negative prompt", func(t *testing.T) {
		snowy := ask("a red mushroom in the snow")
		requireShown(t, most, a.draw(snowy.with(body{"negative_prompt": "snow"})), func(v judge.Verdict) bool { return v.Place != "snow" }, "no snow")
	})
	t.Run("emphasis", func(t *testing.T) {
		by := func(prompt string) float64 {
			pictures := a.draw(ask(prompt))
			keep(t, pictures)
			return mean(pictures, redness)
		}
		plain := by("a red boat")
		require.Greater(t, by("a (red:1.5) boat"), plain+2, "redder")
		require.Less(t, by("a (red:0.5) boat"), plain-2, "paler")
	})
	t.Run("editing", func(t *testing.T) {
		early, late := a.draw(ask("a [red:blue:0.2] mushroom")), a.draw(ask("a [red:blue:0.95] mushroom"))
		requireShown(t, most, early, coloured("blue"), "blue from step 2 on")
		requireShown(t, most, late, coloured("red"), "blue only in the last step")
	})
	t.Run("AND", func(t *testing.T) {
		pictures := a.draw(ask("a red mushroom AND in the snow").with(body{"cfg_scale": 4}))
		requireShown(t, most, pictures, func(v judge.Verdict) bool { return v.Place == "snow" && v.Colour == "red" }, "both prompts")
		pictures = a.draw(ask("a red mushroom AND in the snow :0").with(body{"cfg_scale": 4}))
		requireShown(t, most, pictures, func(v judge.Verdict) bool { return v.Place != "snow" && v.Colour == "red" }, "without its weight the second prompt is not heard")
	})
}

func testRegions(t *testing.T, a *artist) {
	pictures := a.draw(ask("a red mushroom in the snow BREAK a blue boat at night").with(body{
		"width": 2 * meaningSide, "alwayson_scripts": body{"Regional Prompter": body{"args": []any{true, false, "Matrix", "Columns", "Mask", "Prompt", "1,1", "0.2", false, false, false, "Latent"}}},
	}))
	var left, right []imageio.RGB
	for _, m := range pictures {
		left = append(left, m.Crop(imageio.Box{X1: m.W / 2, Y1: m.H}))
		right = append(right, m.Crop(imageio.Box{X0: m.W / 2, X1: m.W, Y1: m.H}))
	}
	keep(t, pictures)
	for i := range pictures { // halves of a picture are none that the judge has learnt from
		require.Greater(t, redness(left[i]), redness(right[i])+10, "the red mushroom is on the left")
		require.Greater(t, brightness(left[i]), brightness(right[i])+30, "snow is on the left, night on the right")
	}
}

func testGuidance(t *testing.T, a *artist) {
	b := ask("a red mushroom in the snow")
	weak, strong := a.draw(b.with(body{"cfg_scale": 1})), a.draw(b)
	keep(t, append(weak, strong...))
	require.Less(t, mean(weak, contrast)+8, mean(strong, contrast), "guidance makes a picture stronger")
}

func testImages(t *testing.T, a *artist) {
	source := a.draw(ask("a red mushroom in the snow").with(body{"batch_size": 1}))[0]
	again := ask("a blue boat at night").with(body{"init_images": []string{png64(t, source)}})
	post := func(b body) []imageio.RGB {
		out := pixels(t, a.post("/sdapi/v1/img2img", b))
		keep(t, append([]imageio.RGB{source}, out...))
		return out
	}
	t.Run("a little", func(t *testing.T) {
		pictures := post(again.with(body{"prompt": "a red mushroom in the snow", "denoising_strength": 0.3}))
		requireShown(t, most, pictures, func(v judge.Verdict) bool { return v.Place == "snow" && v.Colour == "red" }, "the old picture")
		for _, m := range pictures {
			require.Less(t, difference(source, m, nil), 20.0, "the old picture")
		}
	})
	t.Run("a lot", func(t *testing.T) {
		pictures := post(again.with(body{"denoising_strength": 0.95}))
		requireShown(t, most, pictures, place("night"), "the new prompt")
		for _, m := range pictures {
			require.Greater(t, difference(source, m, nil), 40.0, "another picture")
		}
		requireShown(t, most, pictures, coloured("blue"), "the new prompt")
	})
	t.Run("a mask", func(t *testing.T) {
		mask := imageio.NewRGB(source.W, source.H)
		inside := func(_, y int) bool { return y < source.H/2 }
		for i := range mask.Pix {
			if inside(0, i/3/mask.W) {
				mask.Pix[i] = 255
			}
		}
		pictures := post(ask("a red mushroom at night").with(body{
			"init_images": []string{png64(t, source)}, "mask": png64(t, mask), "mask_blur": 0, "inpainting_fill": 1,
			"inpaint_full_res": false, "denoising_strength": 1, "seed": firstSeed,
		}))
		for _, m := range pictures {
			require.Zero(t, difference(source, m, func(x, y int) bool { return !inside(x, y) }), "outside of the mask")
			require.Greater(t, difference(source, m, inside), 40.0, "inside of the mask")
			sky := imageio.Box{X0: 0, Y0: 0, X1: m.W / 2, Y1: m.H / 8} // the moon stands on the right
			require.Less(t, brightness(m.Crop(sky)), 0.7*brightness(source.Crop(sky)), "it is night there")
		}
	})
}

// brightness is the mean of all values, 0 to 255.
func brightness(m imageio.RGB) (sum float64) {
	for _, v := range m.Pix {
		sum += float64(v) / float64(len(m.Pix))
	}
	return sum
}

func testSecondPass(t *testing.T, a *artist) {
	b := ask("a red mushroom in the snow").with(body{"batch_size": 1})
	small := a.draw(b)[0]
	large := a.draw(b.with(body{"enable_hr": true, "hr_scale": 1.5, "hr_upscaler": "Latent", "denoising_strength": 0.5}))[0]
	require.Equal(t, meaningSide*3/2, large.W)
	keep(t, []imageio.RGB{small})
	requireShown(t, 1, []imageio.RGB{large}, func(v judge.Verdict) bool { return v.Place == "snow" && v.Colour == "red" }, "the same")
	require.Less(t, difference(small, large.Resize(meaningSide, meaningSide, imageio.Lanczos), nil), 28.0, "the composition stays")
}

func testFamily(t *testing.T, a *artist) {
	t.Run("embedding", func(t *testing.T) {
		requireShown(t, most, a.draw(ask("a robot on a pink background")), object("robot"), "what no word names")
	})
	t.Run("LoRA", func(t *testing.T) {
		plain, styled := a.draw(ask("a red mushroom in the snow")), a.draw(ask("a red mushroom in the snow <lora:moonlight:1>"))
		keep(t, append(plain, styled...))
		require.Less(t, mean(styled, brightness)+5, mean(plain, brightness), "by moonlight it is darker")
		require.Less(t, mean(styled, contrast)+5, mean(plain, contrast), "and paler")
	})
	t.Run("ControlNet", func(t *testing.T) {
		source := a.draw(ask("a red car by the sea").with(body{"batch_size": 1}))[0]
		b := ask("a green car in the desert").with(body{"seed": firstSeed + 100})
		unit := body{"image": png64(t, source), "module": "canny", "model": "demo-canny", "weight": 1}
		free := a.draw(b)
		held := a.draw(b.with(body{"alwayson_scripts": body{"controlnet": body{"args": []body{unit}}}}))[:meaningSeeds]
		keep(t, append(append([]imageio.RGB{source}, free...), held...))
		car := paint(source, 0)
		overlap := func(m imageio.RGB) float64 { return shared(car, paint(m, 1)) }
		require.Greater(t, mean(held, overlap), mean(free, overlap)+0.05, "the car is where it is in the other picture")
	})
}

// paint tells for each pixel whether one of the three channels outweighs the others.
func paint(m imageio.RGB, channel int) []bool {
	out := make([]bool, m.W*m.H)
	for i := range out {
		p := m.Pix[3*i:]
		rest := max(int(p[(channel+1)%3]), int(p[(channel+2)%3]))
		out[i] = int(p[channel])-rest > 40
	}
	return out
}

// shared is the intersection of two areas over their union, 0 to 1.
func shared(a, b []bool) float64 {
	both, either := 0, 0
	for i := range a {
		if a[i] && b[i] {
			both++
		}
		if a[i] || b[i] {
			either++
		}
	}
	return float64(both) / float64(max(either, 1))
}

func testSamplers(t *testing.T, a *artist) {
	var list []struct{ Name string }
	require.NoError(t, json.Unmarshal([]byte(a.client.get("/sdapi/v1/samplers").body), &list))
	require.NotEmpty(t, list)
	var wrong []string
	for _, s := range list {
		pictures := a.draw(ask("a red mushroom in the snow").with(body{"sampler_name": s.Name, "steps": demo.Steps, "batch_size": 1}))
		v, err := judge.Look(pictures[0])
		require.NoError(t, err)
		faint := s.Name == "DPM fast" // leaves the snow white all over: it is made for few, other steps
		if v.Colour != "red" || v.Place != "snow" && !faint || v.Object != "mushroom" {
			wrong = append(wrong, fmt.Sprintf("%s: %+v", s.Name, v))
			keep(t, pictures)
		}
	}
	require.Empty(t, wrong)
}

func testOtherDoors(t *testing.T, a *artist) {
	b := ask("a yellow star at night").with(body{"batch_size": 1, "n_iter": 2})
	text, err := json.Marshal(body{"endpoint": "txt2img", "input": b})
	require.NoError(t, err)
	var job struct {
		ID, Status string
		Output     struct{ Images []string }
	}
	require.NoError(t, json.Unmarshal([]byte(a.client.do(http.MethodPost, "/v1/jobs", string(text)).body), &job))
	require.Eventually(t, func() bool {
		require.NoError(t, json.Unmarshal([]byte(a.client.get("/v1/jobs/"+job.ID).body), &job))
		return job.Status == "completed"
	}, drawing, 100*time.Millisecond)
	requireShown(t, most, pixels(t, job.Output.Images), func(v judge.Verdict) bool { return v.Colour == "yellow" && v.Place == "night" }, "yellow at night")
}
