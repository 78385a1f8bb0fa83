package detect_test

import (
	"bytes"
	"compress/zlib"
	"encoding/base64"
	"encoding/json"
	"image"
	_ "image/png"
	"io"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/convnet"
	"sdworker/convnet/yolo"
	"sdworker/formats/torchfile"
	"sdworker/inference/detect"
	"sdworker/inference/imageio"
)

// network is a model of testdata with its weights.
type network struct {
	*yolo.Model
	weights [][]float32
}

func open(t *testing.T, name string) network {
	t.Helper()
	raw, err := os.ReadFile("testdata/" + name)
	require.NoError(t, err)
	file, err := torchfile.Read(bytes.NewReader(raw), int64(len(raw)))
	require.NoError(t, err)
	require.Equal(t, "192", file.Notes["train_args.imgsz"])
	shapes, tensors := convnet.Shapes{}, map[string]torchfile.Tensor{}
	for _, x := range file.Tensors {
		shapes[x.Name], tensors[x.Name] = x.Shape, x
	}
	m, problem := yolo.Build(shapes)
	require.Empty(t, problem)
	weights, err := m.Net.Load(func(name string) ([]float32, error) { return tensors[name].Float32s(bytes.NewReader(raw)) })
	require.NoError(t, err)
	return network{m, weights}
}

func picture(t *testing.T, w, h int) imageio.RGB {
	t.Helper()
	f, err := os.Open("testdata/picture.png")
	require.NoError(t, err)
	defer f.Close()
	m, _, err := image.Decode(f)
	require.NoError(t, err)
	out := imageio.NewRGB(m.Bounds().Dx(), m.Bounds().Dy())
	for i := range out.W * out.H {
		r, g, b, _ := m.At(i%out.W, i/out.W).RGBA()
		out.Pix[3*i], out.Pix[3*i+1], out.Pix[3*i+2] = uint8(r>>8), uint8(g>>8), uint8(b>>8)
	}
	return out.Resize(w, h, imageio.Nearest)
}

func unpack(t *testing.T, text string) []byte {
	t.Helper()
	raw, err := base64.StdEncoding.DecodeString(text)
	require.NoError(t, err)
	z, err := zlib.NewReader(bytes.NewReader(raw))
	require.NoError(t, err)
	out, err := io.ReadAll(z)
	require.NoError(t, err)
	return out
}

func recorded[T any](t *testing.T, name string) (out T) {
	t.Helper()
	raw, err := os.ReadFile("testdata/" + name)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(raw, &out))
	return out
}

type prediction struct {
	File          string
	Width, Height int
	Confidence    float64
	Boxes         [][4]float32
	Confidences   []float32
	Classes       []int
	MaskWidth     int `json:"mask_width"`
	MaskHeight    int `json:"mask_height"`
	Masks         []string
}

// Boxes, confidences, classes and masks are those of ultralytics.
func TestFindsWhatUltralyticsFinds(t *testing.T) {
	networks := map[string]network{"detect.pt": open(t, "detect.pt"), "segment.pt": open(t, "segment.pt")}
	letterboxes := map[string][][]float32{}
	for _, c := range recorded[struct{ Cases []prediction }](t, "found.json").Cases {
		net := networks[c.File]
		m := picture(t, c.Width, c.Height)
		l := detect.NewLetterbox(m, 192, 192)
		key := c.File + string(rune(c.Width))
		if letterboxes[key] == nil {
			letterboxes[key] = net.Net.Evaluate(net.weights, l.Pixels, l.H, l.W)
		}
		found := detect.Decode(net.Model, &l, letterboxes[key], c.Confidence)
		require.Len(t, found, len(c.Boxes), "%s %dx%d above %g", c.File, c.Width, c.Height, c.Confidence)
		for i, f := range found {
			want := detect.Box{X1: c.Boxes[i][0], Y1: c.Boxes[i][1], X2: c.Boxes[i][2], Y2: c.Boxes[i][3]}
			require.Greater(t, overlap(f.Box, want), 0.99, "%s box %d: %v, want %v", c.File, i, f.Box, want)
			require.InDelta(t, c.Confidences[i], f.Confidence, 2e-3)
			require.Equal(t, c.Classes[i], f.Class)
			if c.Masks != nil {
				require.Equal(t, []int{c.MaskHeight, c.MaskWidth}, []int{l.H, l.W})
				compareMasks(t, unpack(t, c.Masks[i]), f.Mask(l.W, l.H))
			}
		}
	}
}

func overlap(a, b detect.Box) float64 {
	common := detect.Box{X1: max(a.X1, b.X1), Y1: max(a.Y1, b.Y1), X2: min(a.X2, b.X2), Y2: min(a.Y2, b.Y2)}
	return common.Area() / (a.Area() + b.Area() - common.Area())
}

// compareMasks wants every pixel that differs to lie at an edge of the wanted mask.
func compareMasks(t *testing.T, bits []byte, got imageio.Gray) {
	t.Helper()
	want := func(x, y int) bool {
		x, y = min(max(x, 0), got.W-1), min(max(y, 0), got.H-1)
		at := y*got.W + x
		return bits[at/8]>>(7-at%8)&1 == 1
	}
	for y := range got.H {
		for x := range got.W {
			inside := got.Pix[y*got.W+x] > 127
			if inside == want(x, y) {
				continue
			}
			near := false
			for dy := -1; dy <= 1; dy++ {
				for dx := -1; dx <= 1; dx++ {
					near = near || want(x+dx, y+dy) == inside
				}
			}
			require.True(t, near, "pixel %d,%d is more than a pixel off", x, y)
		}
	}
}
