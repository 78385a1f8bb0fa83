package openai_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"image"
	"image/color"
	"image/png"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"sdworker/fault"
	"sdworker/inference/imageio"
)

// encodeRGBA writes a green PNG whose alpha depends on the column.
func encodeRGBA(t *testing.T, w, h int, alpha func(x int) uint8) []byte {
	t.Helper()
	m := image.NewNRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			m.SetNRGBA(x, y, color.NRGBA{G: 200, A: alpha(x)})
		}
	}
	var buf bytes.Buffer
	require.NoError(t, png.Encode(&buf, m))
	return buf.Bytes()
}

func TestGenerate(t *testing.T) {
	f := start(t)
	got := pictures(t, f.generate(map[string]any{
		"model": "gpt-image-1", "n": 6, "size": "64x128", "quality": "high", "user": "me", "style": "vivid", "moderation": "low",
		"negative_prompt": "blur", "seed": 9007199254740993, "cfg_scale": 5.5, "sampler_name": "DDIM",
	}))
	require.Len(t, got.Data, 6)
	require.Equal(t, "png", got.Format)
	require.Equal(t, []any{"64x128", "high", 2}, []any{got.Size, got.Quality, got.Usage.Input})
	require.Positive(t, got.Created)
	w, h := size(t, got.Data[5].Base64)
	require.Equal(t, []int{64, 128}, []int{w, h})
	require.Empty(t, got.Data[0].URL)

	req := f.gen.Last()
	require.Equal(t, "a fox", req.Prompt)
	require.Equal(t, "blur", req.NegativePrompt)
	require.EqualValues(t, 9007199254740993, req.Seed, "no digit is lost")
	require.InDelta(t, 5.5, req.CFGScale, 0)
	require.Equal(t, "DDIM", req.Sampler)
	require.Equal(t, []int{3, 2}, []int{req.BatchSize, req.BatchNum})
}

func TestBatches(t *testing.T) {
	f := start(t)
	for n, want := range map[int][2]int{1: {1, 1}, 2: {2, 1}, 3: {3, 1}, 4: {4, 1}, 5: {1, 5}, 7: {1, 7}, 8: {4, 2}, 9: {3, 3}, 10: {2, 5}} {
		require.Len(t, pictures(t, f.generate(map[string]any{"n": n})).Data, n)
		require.Equal(t, want, [2]int{f.gen.Last().BatchSize, f.gen.Last().BatchNum}, "n = %d", n)
	}
}

func TestResponseFormats(t *testing.T) {
	f := start(t)
	for name, tc := range map[string]struct {
		fields map[string]any
		url    string // how the URL begins; "" for base64
	}{
		"default":       {nil, ""},
		"gpt-image":     {map[string]any{"model": "gpt-image-1"}, ""},
		"dall-e":        {map[string]any{"model": "dall-e-3"}, "data:image/png;base64,"},
		"dall-e base64": {map[string]any{"model": "dall-e-3", "response_format": "b64_json"}, ""},
		"url":           {map[string]any{"response_format": "url", "output_format": "webp"}, "data:image/webp;base64,"},
		"null":          {map[string]any{"response_format": nil, "n": nil, "size": nil, "model": nil}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := pictures(t, f.generate(tc.fields)).Data
			require.Len(t, got, 1)
			if tc.url == "" {
				size(t, got[0].Base64)
				return
			}
			require.Empty(t, got[0].Base64)
			data, ok := strings.CutPrefix(got[0].URL, tc.url)
			require.True(t, ok, "%.40s", got[0].URL)
			size(t, data)
		})
	}
}

func TestOutputFormats(t *testing.T) {
	f := start(t)
	begins := map[string]string{"png": "iVBOR", "jpeg": "/9j/", "webp": "UklGR"}
	for format, begin := range begins {
		got := pictures(t, f.generate(map[string]any{"output_format": format, "output_compression": 50}))
		require.Equal(t, format, got.Format)
		require.True(t, strings.HasPrefix(got.Data[0].Base64, begin), "%.20s", got.Data[0].Base64)
	}
	got := pictures(t, f.generate(map[string]any{"override_settings": map[string]any{"CLIP_stop_at_last_layers": 2}, "output_format": "jpeg"}))
	require.True(t, strings.HasPrefix(got.Data[0].Base64, begins["jpeg"]))
	require.Equal(t, 2, f.gen.Last().Settings.ClipSkip, "the client's own overrides stay")
}

func TestModels(t *testing.T) {
	f := start(t)
	w := f.send(httptest.NewRequest(http.MethodGet, "/v1/models", nil))
	require.JSONEq(t, `{"object":"list","data":[
		{"id":"v1-5-pruned-emaonly","object":"model","created":0,"owned_by":"local"},
		{"id":"other","object":"model","created":0,"owned_by":"local"}]}`, w.Body.String())
	w = f.send(httptest.NewRequest(http.MethodGet, "/v1/models/other", nil))
	require.JSONEq(t, `{"id":"other","object":"model","created":0,"owned_by":"local"}`, w.Body.String())
	require.Equal(t, "model_not_found", *failed(t, f.send(httptest.NewRequest(http.MethodGet, "/v1/models/none", nil)), 404).Code)

	for name, want := range map[string]string{"other": "other", "cc6cb27103": "other", "dall-e-2": "v1-5-pruned-emaonly", "": "v1-5-pruned-emaonly"} {
		pictures(t, f.generate(map[string]any{"model": name}))
		require.Equal(t, "/models/"+want+".safetensors", f.gen.Last().Files.Checkpoint)
	}
	e := failed(t, f.generate(map[string]any{"model": "none"}), 404)
	require.Equal(t, "model", *e.Param)
	require.Equal(t, "model_not_found", *e.Code)
}

func TestErrors(t *testing.T) {
	f := start(t)
	for name, tc := range map[string]struct {
		fields map[string]any
		param  string
		want   string
	}{
		"no prompt":      {map[string]any{"prompt": nil}, "prompt", "prompt is missing"},
		"prompt":         {map[string]any{"prompt": 5}, "prompt", "must be a text"},
		"n":              {map[string]any{"n": 11}, "n", "from 1 to 10"},
		"n of text":      {map[string]any{"n": "many"}, "n", `n is "many"`},
		"size":           {map[string]any{"size": "large"}, "size", "give WIDTHxHEIGHT"},
		"size too large": {map[string]any{"size": "80000x512"}, "size", "width is 80000"},
		"size too small": {map[string]any{"size": "1x512"}, "size", "width is 1"},
		"crash of A1111": {map[string]any{"batch_size": 0}, "n", "batch_size is 0"},
		"format":         {map[string]any{"output_format": "gif"}, "output_format", "one of png, jpeg, webp"},
		"response":       {map[string]any{"response_format": "file"}, "response_format", "one of b64_json, url"},
		"compression":    {map[string]any{"output_compression": 101}, "output_compression", "from 0 to 100"},
		"transparent":    {map[string]any{"background": "transparent"}, "background", "transparent background"},
		"partial":        {map[string]any{"partial_images": 4}, "partial_images", "from 0 to 3"},
		"overrides":      {map[string]any{"override_settings": []int{1}}, "override_settings", "must be an object"},
		"A1111's field":  {map[string]any{"steps": "many"}, "steps", "steps: value is not a valid integer"},
	} {
		t.Run(name, func(t *testing.T) {
			e := failed(t, f.generate(tc.fields), 400)
			require.Equal(t, "invalid_request_error", e.Type)
			require.Contains(t, e.Message, tc.want)
			if e.Param != nil {
				require.Equal(t, tc.param, *e.Param)
			}
		})
	}
	e := failed(t, f.generate(map[string]any{"sampler_name": "none"}), 404)
	require.Equal(t, "Sampler not found", e.Message)
	r := httptest.NewRequest(http.MethodPost, "/v1/images/generations", strings.NewReader("{"))
	require.Contains(t, failed(t, f.send(r), 400).Message, "could not be read")
	r = httptest.NewRequest(http.MethodPost, "/v1/images/generations", strings.NewReader("prompt=x"))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	require.Contains(t, failed(t, f.send(r), 400).Message, "send application/json")
}

func TestErrorsOfTheServer(t *testing.T) {
	f := start(t).guard("secret")
	e := failed(t, f.generate(nil), 401)
	require.Equal(t, "invalid_api_key", *e.Code)
	require.Equal(t, 401, f.send(httptest.NewRequest(http.MethodGet, "/v1/models", nil)).Code)
	pictures(t, f.generate(nil, "Authorization", "Bearer secret"))

	f.gen.Fail = &fault.Error{Code: fault.Exhausted, Msg: "out of memory"}
	e = failed(t, f.generate(nil, "Authorization", "Bearer secret"), 500)
	require.Equal(t, "server_error", e.Type)
	require.Equal(t, "out of memory", e.Message)
}

func TestQueueFull(t *testing.T) {
	f := start(t)
	at, next := held(f.gen)
	first := make(chan *httptest.ResponseRecorder, 1)
	go func() { first <- f.generate(nil) }()
	<-at
	w := f.generate(nil)
	e := failed(t, w, 429)
	require.Equal(t, "rate_limit_exceeded", *e.Code)
	require.NotEmpty(t, w.Header().Get("Retry-After"))
	for _, path := range []string{"/v1/images/generations", "/v1/images/edits"} {
		unread := iotest.ErrReader(errors.New("the body was read"))
		failed(t, f.send(httptest.NewRequest(http.MethodPost, path, unread)), 429)
	}
	next <- struct{}{}
	pictures(t, <-first)
}

func TestEdit(t *testing.T) {
	f := start(t)
	prompt := map[string]string{"prompt": "a hat", "steps": "1", "denoising_strength": "0.5", "n": "2"}
	solid, holed := picture(t, 64, 128, false), picture(t, 64, 128, true)

	got := pictures(t, f.edit(prompt, file{"image", solid}))
	require.Len(t, got.Data, 2)
	w, h := size(t, got.Data[0].Base64)
	require.Equal(t, []int{64, 128}, []int{w, h}, "the size is that of the picture")
	require.Nil(t, f.gen.Last().Init.Mask)
	require.InDelta(t, 0.5, f.gen.Last().DenoisingStrength, 0)

	for name, uploads := range map[string][]file{
		"mask":             {{"image", solid}, {"mask", holed}},
		"list":             {{"image[]", solid}, {"mask", holed}},
		"own transparency": {{"image", holed}},
	} {
		t.Run(name, func(t *testing.T) {
			pictures(t, f.edit(prompt, uploads...))
			mask := f.gen.Last().Init.Mask
			require.NotNil(t, mask)
			require.EqualValues(t, 255, mask.Image.Pix[0], "transparent pixels are repainted")
			require.EqualValues(t, 0, mask.Image.Pix[63])
			require.False(t, mask.OnlyMasked)
		})
	}

	pictures(t, f.edit(map[string]string{"prompt": "a hat", "steps": "1", "size": "128x64", "inpaint_full_res": "true"}, file{"image", holed}))
	require.Equal(t, 128, f.gen.Last().Width)
	require.True(t, f.gen.Last().Init.Mask.OnlyMasked)
}

func TestEditErrors(t *testing.T) {
	f := start(t)
	prompt := map[string]string{"prompt": "a hat"}
	solid, holed := picture(t, 64, 64, false), picture(t, 64, 64, true)
	grey, err := imageio.EncodeGrayPNG(imageio.NewGray(64, 64))
	require.NoError(t, err)
	for name, tc := range map[string]struct {
		uploads []file
		want    string
	}{
		"no image":      {nil, "0 images were sent"},
		"two images":    {[]file{{"image[]", solid}, {"image[]", solid}}, "2 images were sent"},
		"no picture":    {[]file{{"image", []byte("text")}}, "image: not a picture"},
		"other size":    {[]file{{"image", solid}, {"mask", picture(t, 32, 64, true)}}, "the mask is 32x64 pixels, the image 64x64"},
		"mask no alpha": {[]file{{"image", solid}, {"mask", grey}}, "no alpha channel"},
		"markup":        {[]file{{"image", solid}, {"markup", holed}}, "the file markup is not used here; send image and mask"},
		"one pixel":     {[]file{{"image", picture(t, 1, 1, false)}}, "width is 1"},
	} {
		t.Run(name, func(t *testing.T) {
			require.Contains(t, failed(t, f.edit(prompt, tc.uploads...), 400).Message, tc.want)
		})
	}
	require.Equal(t, "prompt", *failed(t, f.edit(nil, file{"image", holed}), 400).Param)
	r := httptest.NewRequest(http.MethodPost, "/v1/images/edits", strings.NewReader("{}"))
	r.Header.Set("Content-Type", "application/json")
	require.Contains(t, failed(t, f.send(r), 400).Message, "multipart/form-data")
}

// event is the data of a streamed event.
type event struct {
	Type   string
	Base64 string `json:"b64_json"`
	Index  int    `json:"partial_image_index"`
	Error  *failure

	Size, Quality string
	Usage         struct {
		Total int `json:"total_tokens"`
		Input int `json:"input_tokens"`
	}
}

func eventsOf(t *testing.T, w *httptest.ResponseRecorder) (events []event) {
	t.Helper()
	require.Equal(t, 200, w.Code, "%s", w.Body)
	require.Equal(t, "text/event-stream", w.Header().Get("Content-Type"))
	for lines := bufio.NewScanner(w.Body); lines.Scan(); {
		if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
			var e event
			require.NoError(t, json.Unmarshal([]byte(data), &e))
			events = append(events, e)
		}
	}
	return events
}

func TestStream(t *testing.T) { synctest.Test(t, testStream) }

func testStream(t *testing.T) {
	f := start(t)
	preview := imageio.Fill(8, 8, [3]uint8{200, 0, 0})
	f.gen.Preview = &preview
	at, next := held(f.gen)
	got := make(chan *httptest.ResponseRecorder, 1)
	go func() { got <- f.generate(map[string]any{"stream": true, "partial_images": 2, "steps": 10, "n": 2}) }()
	for step := range 10 {
		require.Equal(t, step, <-at)
		synctest.Wait() // the stream has seen the step
		next <- struct{}{}
	}
	events := eventsOf(t, <-got)
	var types []string
	for _, e := range events {
		types = append(types, e.Type)
		size(t, e.Base64)
	}
	require.Equal(t, []string{"image_generation.partial_image", "image_generation.partial_image", "image_generation.completed", "image_generation.completed"}, types)
	require.Equal(t, 1, events[1].Index)
	require.Equal(t, "64x64", events[0].Size, "of the picture that comes")
	require.Equal(t, "auto", events[0].Quality)
	require.Equal(t, "64x64", events[3].Size)
	require.Equal(t, 2, events[3].Usage.Input, "a fox")
	require.Equal(t, 2, events[3].Usage.Total)
}

func TestStreamErrors(t *testing.T) { synctest.Test(t, testStreamErrors) }

func testStreamErrors(t *testing.T) {
	f := start(t)
	require.Equal(t, "steps", *failed(t, f.generate(map[string]any{"stream": true, "steps": "many"}), 400).Param, "before the work begins")

	at, _ := held(f.gen)
	got := make(chan *httptest.ResponseRecorder, 1)
	go func() { got <- f.generate(map[string]any{"stream": true, "steps": 10}) }()
	<-at
	synctest.Wait() // the stream has begun
	f.queue.Cancel(f.queue.IDs()[0], nil)
	events := eventsOf(t, <-got)
	require.Equal(t, "error", events[0].Type)
	require.Equal(t, "server_error", events[0].Error.Type)
}

func TestVariations(t *testing.T) {
	f := start(t)
	raw, err := imageio.EncodePNG(imageio.Fill(64, 72, [3]uint8{1, 2, 3}), imageio.Text{Key: "parameters", Value: "a fox\nNegative prompt: blur\nSteps: 4, Sampler: Euler, CFG scale: 7.0, Seed: 1, Size: 64x72"})
	require.NoError(t, err)
	got := pictures(t, f.form("/v1/images/variations", map[string]string{"n": "2", "steps": "1", "model": "dall-e-2"}, file{"image", raw}))
	require.Len(t, got.Data, 2)
	require.Equal(t, "64x72", got.Size)
	require.NotEmpty(t, got.Data[0].URL, "the default of DALL-E 2")
	req := f.gen.Last()
	require.Equal(t, []string{"a fox", "blur"}, []string{req.Prompt, req.NegativePrompt}, "what the picture was made with")
	require.InDelta(t, 0.6, req.DenoisingStrength, 0)
	require.Nil(t, req.Init.Mask)

	pictures(t, f.form("/v1/images/variations", map[string]string{"steps": "1", "prompt": "a dog", "denoising_strength": "0.3"}, file{"image", raw}))
	require.Equal(t, "a dog", f.gen.Last().Prompt)
	require.InDelta(t, 0.3, f.gen.Last().DenoisingStrength, 0)
	pictures(t, f.form("/v1/images/variations", map[string]string{"steps": "1"}, file{"image", encodeRGBA(t, 64, 64, func(int) uint8 { return 255 })}))
	require.Empty(t, f.gen.Last().Prompt)

	require.Equal(t, "image", *failed(t, f.form("/v1/images/variations", nil), 400).Param)
	require.Equal(t, "mask", *failed(t, f.form("/v1/images/variations", nil, file{"image", raw}, file{"mask", raw}), 400).Param)
	require.Equal(t, "image", *failed(t, f.form("/v1/images/variations", nil, file{"image", raw}, file{"image", raw}), 400).Param)
}
