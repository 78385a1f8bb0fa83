package sdapi_test

import (
	"bytes"
	"compress/zlib"
	"encoding/base64"
	"encoding/binary"
	"hash/crc32"
	"image/png"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/api/budget"
	"sdworker/api/gate"
	"sdworker/api/sdapi"
	"sdworker/internal/disktest"
)

func TestAuthAll(t *testing.T) {
	users := map[string]string{"u": "p"}
	a1111 := start(t).guard(gate.Policy{Credentials: gate.Credentials{Users: users}})
	all := start(t).guard(gate.Policy{Credentials: gate.Credentials{Users: users}, AuthAll: true})
	for _, path := range []string{"/sdapi/v1/loras", "/controlnet/model_list", "/internal/pending-tasks", "/internal/sysinfo", "/docs", "/config"} {
		require.Equal(t, 200, a1111.get(path).status, path)
		require.Equal(t, 401, all.get(path).status, path)
	}
	for _, path := range []string{"/healthz", "/readyz"} {
		require.NotEqual(t, 401, all.get(path).status, path)
	}
	require.Equal(t, 401, a1111.get("/sdapi/v1/samplers").status)
	open := start(t).guard(gate.Policy{AuthAll: true})
	require.Equal(t, 200, open.get("/controlnet/model_list").status, "nothing to ask for")
}

// blackPNG is a well-packed picture of one bit a pixel.
func blackPNG(side int) string {
	chunk := func(kind string, content []byte) []byte {
		out := binary.BigEndian.AppendUint32(nil, uint32(len(content)))
		out = append(append(out, kind...), content...)
		return binary.BigEndian.AppendUint32(out, crc32.ChecksumIEEE(out[4:]))
	}
	header := binary.BigEndian.AppendUint32(nil, uint32(side))
	header = append(binary.BigEndian.AppendUint32(header, uint32(side)), 1, 0, 0, 0, 0)
	var pixels bytes.Buffer
	z := zlib.NewWriter(&pixels)
	for range side {
		_, _ = z.Write(make([]byte, 1+side/8))
	}
	_ = z.Close()
	file := []byte("\x89PNG\r\n\x1a\n")
	file = append(file, chunk("IHDR", header)...)
	file = append(file, chunk("IDAT", pixels.Bytes())...)
	return base64.StdEncoding.EncodeToString(append(file, chunk("IEND", nil)...))
}

// TestManyLargePictures: a small body must not fill the memory.
func TestManyLargePictures(t *testing.T) {
	f := start(t)
	bomb := blackPNG(8000)
	require.Less(t, len(bomb), 20_000)
	list := make([]map[string]any, 60)
	texts := make([]any, 60)
	for i := range list {
		list[i], texts[i] = map[string]any{"data": bomb, "name": "x"}, bomb
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for path, body := range map[string]map[string]any{
		"/sdapi/v1/extra-batch-images": {"imageList": list, "upscaler_1": "None"},
		"/sdapi/v1/img2img":            {"init_images": texts, "batch_size": 60},
		"/controlnet/detect":           {"controlnet_module": "none", "controlnet_input_images": texts},
	} {
		got := f.post(path, body)
		require.Equal(t, 422, got.status, path)
		require.Contains(t, string(got.body), "million pixels together", path)
	}
	runtime.ReadMemStats(&after)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(64<<20))

	// Within a budget, what is decoded one after another counts, too.
	h := budget.New(64 << 20).Handler(f.server)
	r := httptest.NewRequest(http.MethodPost, "/sdapi/v1/extra-single-image", strings.NewReader(`{"image":"`+bomb+`"}`))
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	require.Equal(t, 422, w.Code)
	require.Contains(t, w.Body.String(), "million pixels together")
}

// TestPicturesAreSavedWhole: beside them nothing is left, and none is replaced.
func TestPicturesAreSavedWhole(t *testing.T) {
	folder := t.TempDir()
	f := start(t, func(c *sdapi.Config) { c.OutputDir = folder })
	body := small(map[string]any{"save_images": true, "override_settings": map[string]any{
		"outdir_txt2img_samples": "out", "save_to_dirs": false, "save_images_add_number": false, "samples_filename_pattern": "same",
	}})
	for range 3 {
		require.Equal(t, 200, f.post("/sdapi/v1/txt2img", body).status)
	}
	var names []string
	entries, err := os.ReadDir(filepath.Join(folder, "out"))
	require.NoError(t, err)
	for _, e := range entries {
		names = append(names, e.Name())
		raw, err := os.ReadFile(filepath.Join(folder, "out", e.Name()))
		require.NoError(t, err)
		_, err = png.Decode(bytes.NewReader(raw))
		require.NoError(t, err)
	}
	require.Equal(t, []string{"same-1-1.png", "same-1.png", "same.png"}, names)
}

// TestFullDisk: what does not fit is not there, and all goes on once there is room.
func TestFullDisk(t *testing.T) {
	if !disktest.OwnProcess(t) {
		return
	}
	folder := t.TempDir()
	f := start(t, func(c *sdapi.Config) {
		c.OutputDir, c.OptionsFile = folder, filepath.Join(folder, "config.json")
	})
	files := func() (paths []string) {
		require.NoError(t, filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				paths = append(paths, path)
			}
			return err
		}))
		return paths
	}
	picture := small(map[string]any{"save_images": true})
	setting := func(skip int) map[string]any { return map[string]any{"CLIP_stop_at_last_layers": skip} }
	require.Equal(t, 200, f.post("/sdapi/v1/options", setting(2)).status)
	before, err := os.ReadFile(filepath.Join(folder, "config.json"))
	require.NoError(t, err)
	for _, room := range []uint64{0, 100} {
		free := disktest.Fill(t, room)
		refused, made := f.post("/sdapi/v1/options", setting(3)), f.post("/sdapi/v1/txt2img", picture)
		require.Equal(t, 500, refused.status)
		require.JSONEq(t, `{"error":"OSError","detail":"","body":"","errors":"file too large"}`, string(refused.body))
		require.Equal(t, 200, made.status, "the picture is there all the same")
		require.Contains(t, string(made.body), "images could not be saved: OSError: file too large")
		require.NotContains(t, string(made.body), folder)
		free()
		require.Equal(t, []string{filepath.Join(folder, "config.json")}, files())
		after, err := os.ReadFile(filepath.Join(folder, "config.json"))
		require.NoError(t, err)
		require.Equal(t, before, after)
		require.Contains(t, string(f.get("/sdapi/v1/options").body), `"CLIP_stop_at_last_layers":2`)
	}
	require.Equal(t, 200, f.post("/sdapi/v1/options", setting(3)).status)
	require.Equal(t, 200, f.post("/sdapi/v1/txt2img", picture).status)
	require.Len(t, files(), 2)
}

// TestOptionsThatCannotBeWritten: what the reply says is what counts.
func TestOptionsThatCannotBeWritten(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "gone")
	require.NoError(t, os.Mkdir(folder, 0o755))
	f := start(t, func(c *sdapi.Config) { c.OptionsFile = filepath.Join(folder, "config.json") })
	require.Equal(t, 200, f.post("/sdapi/v1/options", map[string]any{"CLIP_stop_at_last_layers": 2}).status)
	require.NoError(t, os.RemoveAll(folder))
	require.Equal(t, 500, f.post("/sdapi/v1/options", map[string]any{"CLIP_stop_at_last_layers": 3}).status)
	require.Contains(t, string(f.get("/sdapi/v1/options").body), `"CLIP_stop_at_last_layers":2`)
}

// TestFullQueueComesFirst: a body that would not be worked on is not read.
func TestFullQueueComesFirst(t *testing.T) {
	f, h := startHeld(t, 1)
	first := f.later(t.Context(), "/sdapi/v1/txt2img", map[string]any{"steps": 1, "width": 64, "height": 64})
	<-h.at
	for _, path := range []string{"/sdapi/v1/txt2img", "/sdapi/v1/img2img", "/sdapi/v1/extra-single-image", "/sdapi/v1/extra-batch-images"} {
		r := httptest.NewRequest(http.MethodPost, path, unread{t})
		w := httptest.NewRecorder()
		f.server.ServeHTTP(w, r)
		require.Equal(t, 429, w.Code, path)
	}
	h.next <- struct{}{}
	require.Equal(t, 200, (<-first).status)
}

// unread is a body that nobody may read.
type unread struct{ t *testing.T }

func (u unread) Read([]byte) (int, error) { u.t.Error("the body was read"); return 0, io.EOF }
