package sdapi_test

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"image"
	"image/color"
	"image/gif"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/api/budget"
)

// allocated is how many bytes f allocates, freed ones included.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// zeros are so many packed zero bytes.
func zeros(n int) []byte {
	var b bytes.Buffer
	z := zlib.NewWriter(&b)
	for range n >> 20 {
		_, _ = z.Write(make([]byte, 1<<20))
	}
	_ = z.Close()
	return b.Bytes()
}

// pngWith is a small picture with chunks before its pixels.
func pngWith(tb testing.TB, chunks ...[]byte) string {
	tb.Helper()
	whole, err := base64.StdEncoding.DecodeString(blackPNG(8))
	require.NoError(tb, err)
	const header = 8 + 25
	file := bytes.Clone(whole[:header])
	for _, c := range chunks { // kind and content
		file = binary.BigEndian.AppendUint32(file, uint32(len(c)-4))
		file = append(file, c...)
		file = binary.BigEndian.AppendUint32(file, crc32.ChecksumIEEE(c))
	}
	return base64.StdEncoding.EncodeToString(append(file, whole[header:]...))
}

var underRace bool // see race_test.go

// TestBombs: what is small on the wire stays small in memory, and the server says what it
// makes of it. The bounds are of all bytes that the request allocates.
func TestBombs(t *testing.T) {
	if underRace {
		t.Skip("the race detector takes memory of its own: make test and make check run it without")
	}
	const packed = 256 << 20
	var manyFrames bytes.Buffer
	animation := gif.GIF{Config: image.Config{Width: 2000, Height: 2000}}
	frame := image.NewPaletted(image.Rect(0, 0, 2000, 2000), color.Palette{color.Black, color.White})
	for range 20 {
		animation.Image, animation.Delay = append(animation.Image, frame), append(animation.Delay, 1)
	}
	require.NoError(t, gif.EncodeAll(&manyFrames, &animation))
	hugeGIF := append([]byte("GIF89a\xff\xff\xff\xff\x80\x00\x00"), "\x00\x00\x00\xff\xff\xff,\x00\x00\x00\x00\xff\xff\xff\xff\x00\x02\x02D\x01\x00;"...)
	// VP8L: 14 bits of width-1, 14 of height-1, one of alpha, 3 of the version.
	hugeWebP := append([]byte("RIFF\x1e\x00\x00\x00WEBPVP8L\x11\x00\x00\x00\x2f\xff\xff\xff\x0f"), make([]byte, 13)...)
	var gzipped bytes.Buffer
	z := gzip.NewWriter(&gzipped)
	for range packed >> 20 {
		_, _ = z.Write(bytes.Repeat([]byte{' '}, 1<<20))
	}
	require.NoError(t, z.Close())

	picture := func(path, field string, data []byte) (string, string) {
		return path, fmt.Sprintf(`{%q: %q}`, field, base64.StdEncoding.EncodeToString(data))
	}
	fields := func(n int, value string) string {
		var b strings.Builder
		b.WriteString(`{"prompt":"a"`)
		for i := range n {
			fmt.Fprintf(&b, `,"f%d":%s`, i, value)
		}
		return b.String() + "}"
	}
	text := func(prompt string) string {
		raw, err := json.Marshal(map[string]any{"prompt": prompt, "steps": 1, "width": 64, "height": 64})
		require.NoError(t, err)
		return string(raw)
	}
	nothing := zeros(packed)
	for _, tc := range []struct {
		name   string
		build  func() (path, body string)
		header http.Header
		status []int
		mib    uint64 // allocated at most
	}{
		{name: "PNG of 8000x8000 bits", build: func() (string, string) {
			return "/sdapi/v1/png-info", `{"image":"` + blackPNG(8000) + `"}`
		}, status: []int{200}, mib: 320},
		{name: "zTXt", build: func() (string, string) {
			return "/sdapi/v1/png-info", `{"image":"` + pngWith(t, append([]byte("zTXtparameters\x00\x00"), nothing...)) + `"}`
		}, status: []int{200}, mib: 48},
		{name: "many zTXt", build: func() (string, string) {
			c := append([]byte("zTXtparameters\x00\x00"), zeros(4<<20)...)
			many := make([][]byte, 500)
			for i := range many {
				many[i] = c
			}
			return "/sdapi/v1/png-info", `{"image":"` + pngWith(t, many...) + `"}`
		}, status: []int{200}, mib: 320},
		{name: "packed iTXt", build: func() (string, string) {
			return "/sdapi/v1/png-info", `{"image":"` + pngWith(t, append([]byte("iTXtparameters\x00\x01\x00\x00\x00"), nothing...)) + `"}`
		}, status: []int{200}, mib: 48},
		{name: "iCCP", build: func() (string, string) {
			return "/sdapi/v1/png-info", `{"image":"` + pngWith(t, append([]byte("iCCPx\x00\x00"), nothing...)) + `"}`
		}, status: []int{200}, mib: 16},
		{name: "GIF of 65535x65535", build: func() (string, string) { return picture("/sdapi/v1/png-info", "image", hugeGIF) }, status: []int{422}, mib: 4},
		{name: "GIF of many frames", build: func() (string, string) { return picture("/sdapi/v1/png-info", "image", manyFrames.Bytes()) }, status: []int{200}, mib: 64},
		{name: "WebP of 16384x16384", build: func() (string, string) { return picture("/sdapi/v1/png-info", "image", hugeWebP) }, status: []int{422}, mib: 4},
		{name: "gzip", build: func() (string, string) { return "/sdapi/v1/txt2img", gzipped.String() }, header: http.Header{"Content-Encoding": {"gzip"}}, status: []int{400}, mib: 4},
		{name: "a million fields", build: func() (string, string) { return "/sdapi/v1/txt2img", fields(1_000_000, "1") }, status: []int{200}, mib: 400},
		{name: "many fields in an option", build: func() (string, string) {
			return "/sdapi/v1/txt2img", `{"override_settings":` + fields(100_000, "1") + `}`
		}, status: []int{500}, mib: 100},
		{name: "deep lists", build: func() (string, string) {
			return "/sdapi/v1/txt2img", `{"styles":` + strings.Repeat("[", 1_000_000) + strings.Repeat("]", 1_000_000) + `}`
		}, status: []int{400}, mib: 64},
		{name: "deep objects", build: func() (string, string) {
			return "/sdapi/v1/txt2img", strings.Repeat(`{"a":`, 1_000_000) + "1" + strings.Repeat("}", 1_000_000)
		}, status: []int{400}, mib: 64},
		{name: "a prompt of 5 MB", build: func() (string, string) { return "/sdapi/v1/txt2img", text(strings.Repeat("a ", 5<<19)) }, status: []int{422}, mib: 64},
		{name: "10,000 LoRA tags", build: func() (string, string) {
			return "/sdapi/v1/txt2img", text(strings.Repeat("<lora:a:1>", 10_000))
		}, status: []int{200}, mib: 64},
		{name: "100,000 brackets", build: func() (string, string) { return "/sdapi/v1/txt2img", text(strings.Repeat("(", 100_000)) }, status: []int{200}, mib: 128},
		{name: "nested editing", build: func() (string, string) {
			return "/sdapi/v1/txt2img", text(strings.Repeat("[a:", 15_000) + "b" + strings.Repeat(":0.5]", 15_000))
		}, status: []int{200}, mib: 256},
		{name: "10,000 styles", build: func() (string, string) {
			raw, _ := json.Marshal(map[string]any{"styles": make([]string, 10_000), "steps": 1, "width": 64, "height": 64})
			return "/sdapi/v1/txt2img", string(raw)
		}, status: []int{200}, mib: 64},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := start(t)
			h := budget.New(1 << 30).Handler(f.server)
			path, body := tc.build()
			r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
			r.Header = tc.header.Clone()
			if r.Header == nil {
				r.Header = http.Header{}
			}
			r.Header.Set("Content-Type", "application/json")
			w := httptest.NewRecorder()
			used := allocated(func() { h.ServeHTTP(w, r) })
			t.Logf("%d bytes of body, %d MiB allocated, status %d: %.200s", len(body), used>>20, w.Code, w.Body)
			require.Contains(t, tc.status, w.Code)
			require.LessOrEqual(t, used, tc.mib<<20+3*uint64(len(body)))
		})
	}
}

// TestMemoryBeforeWork: what the device or the server has no memory for is refused before a
// picture is decoded or the queue has the job.
// TestDetectedMapsTakeBoundedMemory: small pictures of which a preprocessor makes large ones are
// no way around the budget, and nobody's are not made.
func TestDetectedMapsTakeBoundedMemory(t *testing.T) {
	f := start(t)
	f.handler = budget.New(16 << 20).Handler(f.server)
	pictures := make([]any, 100)
	for i := range pictures {
		pictures[i] = blackPNG(8)
	}
	body := map[string]any{"controlnet_module": "canny", "controlnet_input_images": pictures, "controlnet_processor_res": 512}
	var got reply
	taken := allocated(func() { got = f.post("/controlnet/detect", body) })
	require.Equal(t, 422, got.status, "%s", got.body)
	require.Contains(t, string(got.body), "ask for fewer or smaller ones")
	require.Less(t, taken, uint64(400<<20), "five pictures of 512x512 fit into the budget, with what the preprocessor needs")

	text, err := json.Marshal(body)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	gone := httptest.NewRecorder()
	taken = allocated(func() {
		f.server.ServeHTTP(gone, httptest.NewRequestWithContext(ctx, http.MethodPost, "/controlnet/detect", bytes.NewReader(text)))
	})
	require.Equal(t, 499, gone.Code, gone.Body)
	require.Less(t, taken, uint64(50<<20))
}

func TestMemoryBeforeWork(t *testing.T) {
	f := start(t)
	f.gen.Memory = 8 << 30
	require.Equal(t, 200, f.post("/sdapi/v1/txt2img", small(nil)).status)
	jobs := f.gen.Jobs()
	body := map[string]any{"init_images": []any{blackPNG(8000)}, "width": 8192, "height": 8192}
	var got reply
	require.Less(t, allocated(func() { got = f.post("/sdapi/v1/img2img", body) }), uint64(1<<20))
	require.Equal(t, 500, got.status)
	require.Contains(t, string(got.body), "OutOfMemoryError")
	require.Contains(t, string(got.body), "ask for a smaller one")
	require.Contains(t, string(got.body), "takes about 23768 MiB", "22,000 bytes a latent cell, 15 a pixel, and a tile of the VAE")

	f.handler = budget.New(1 << 30).Handler(f.server)
	for name, request := range map[string]struct {
		path string
		body map[string]any
	}{
		"pictures": {"/sdapi/v1/txt2img", map[string]any{"width": 2048, "height": 2048, "n_iter": 100, "steps": 1}},
		"loops": {"/sdapi/v1/img2img", map[string]any{
			"init_images": []any{blackPNG(64)}, "width": 2048, "height": 2048, "steps": 1,
			"script_name": "Loopback", "script_args": []any{32, 0.5, "Linear", "None"}, "n_iter": 2,
		}},
		"a grid with one large cell": {"/sdapi/v1/txt2img", map[string]any{
			"width": 64, "height": 64, "steps": 1, "script_name": "X/Y/Z plot",
			"script_args": plotArgs([]any{axisIndex(t, f, "Size"), strings.Repeat("64x64, ", 20) + "2048x2048", []any{}}, nil, nil, nil),
		}},
		"small parts of a large picture": {"/sdapi/v1/img2img", map[string]any{
			"init_images": []any{blackPNG(4000)}, "mask": blackPNG(64), "inpainting_mask_invert": 1, "inpaint_full_res": true,
			"width": 64, "height": 64, "steps": 1, "n_iter": 6,
		}},
	} {
		got = f.post(request.path, request.body)
		require.Equal(t, 422, got.status, "%s: %.200s", name, got.body)
		require.Contains(t, string(got.body), "ask for fewer or smaller ones", name)
	}
	require.Equal(t, jobs, f.gen.Jobs())
}
