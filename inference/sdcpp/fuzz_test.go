//go:build cgo && sdcpp

package sdcpp_test

import (
	"context"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"sdworker/fault"
	"sdworker/formats/hypernet"
	"sdworker/formats/safetensors"
	"sdworker/formats/torchfile/torchfiletest"
	"sdworker/inference"
	"sdworker/inference/enginetest"
	"sdworker/inference/imageio"
	"sdworker/inference/sdcpp"
	"sdworker/models/synth"
)

// specimen is a model file that is damaged, and how an engine comes to read it.
type specimen struct {
	name string
	path func(tb testing.TB) string // of the whole file
	use  func(ctx context.Context, e *sdcpp.Engine, path string) error
}

var specimens = []specimen{
	{"LoRA", ours(synth.LoRA), useLoRA},
	{"LoRA, pickled", pickled(synth.LoRADiffusers), useLoRA},
	{"VAE", ours(synth.VAE), func(ctx context.Context, e *sdcpp.Engine, path string) error {
		if err := e.SetVAE(ctx, path); err != nil {
			return err
		}
		_, err := e.Decode(ctx, inference.LatentInput{Latent: make([]float32, inference.LatentChannels), H: 1, W: 1})
		return orElse(err, e.SetVAE(ctx, ""))
	}},
	{"TAESD", ours(synth.TAESD), func(ctx context.Context, e *sdcpp.Engine, path string) error {
		_, err := e.DecodePreview(ctx, path, enginetest.Noise(3, inference.LatentChannels*4), 2, 2)
		return err
	}},
	{"ControlNet", ours(synth.ControlNet), func(ctx context.Context, e *sdcpp.Engine, path string) error {
		in := unetInput(4, 4)
		in.Control = []inference.ControlInput{{Model: path, Hint: make([]float32, 3*32*32), Rows: []float32{1}, Layers: slices.Repeat([]float32{1}, inference.ControlLayers)}}
		_, err := e.PredictNoise(ctx, in)
		return err
	}},
	{"ESRGAN", ours(synth.ESRGAN), useUpscaler},
	{"SPAN", published("../../convnet/superres/testdata/span-x2.pth"), useUpscaler},
	{"Real-ESRGAN", published("../../convnet/superres/testdata/compact-x4.pth"), useUpscaler},
	{"detector", published("../detect/testdata/segment.pt"), func(ctx context.Context, e *sdcpp.Engine, path string) error {
		_, err := e.Detect(ctx, path, imageio.NewRGB(64, 64), 0.1)
		return err
	}},
	{"hypernetwork", published("../../formats/hypernet/testdata/hypernet.pt"), func(ctx context.Context, e *sdcpp.Engine, path string) error {
		network, err := hypernet.Read(path)
		if err != nil {
			return err
		}
		if err = e.SetHypernets(ctx, []inference.Hypernet{{Network: network, Strength: 1}}); err == nil {
			_, err = e.PredictNoise(ctx, unetInput(4, 4))
		}
		return orElse(err, e.SetHypernets(ctx, nil))
	}},
	{"checkpoint", ours(synth.Checkpoint), useCheckpoint},
	{"checkpoint, GGUF", func(tb testing.TB) string {
		path := filepath.Join(modelFolder, "damaged.gguf")
		require.NoError(tb, sdcpp.Quantize(tb.Context(), model(tb, synth.Checkpoint), path, "q8_0", zerolog.Nop()))
		return path
	}, useCheckpoint},
	{"checkpoint, pickled", pickled(synth.Checkpoint), useCheckpoint},
}

func orElse(err, other error) error {
	if err != nil {
		return err
	}
	return other
}

func useLoRA(ctx context.Context, e *sdcpp.Engine, path string) error {
	_, err := e.SetLoRAs(ctx, []inference.LoRA{{Path: path, UNet: 1, TextEncoder: 1}})
	return err
}

func useUpscaler(ctx context.Context, e *sdcpp.Engine, path string) error {
	_, _, err := e.UpscalePixels(ctx, inference.UpscalerModel{Path: path}, make([]float32, 3*4*4), 4, 4)
	return err
}

// useCheckpoint opens the file in an engine of its own.
func useCheckpoint(ctx context.Context, _ *sdcpp.Engine, path string) error {
	e, err := sdcpp.Open(ctx, sdcpp.Options{Checkpoint: path, AllowPickle: true, Log: zerolog.Nop()})
	if err != nil {
		return err
	}
	_, err = e.EncodeText(ctx, inference.TextInput{Chunks: [][inference.ChunkTokens]int32{{49406, 49407}}, Skip: 1})
	in := unetInput(4, 4)
	in.Latent = enginetest.Noise(1, e.Info().UNetChannels*4*4)
	if _, err2 := e.PredictNoise(ctx, in); err == nil {
		err = err2
	}
	if _, err2 := e.Decode(ctx, inference.LatentInput{Latent: make([]float32, inference.LatentChannels), H: 1, W: 1}); err == nil {
		err = err2
	}
	return orElse(err, e.Close())
}

func ours(kind synth.Kind) func(testing.TB) string {
	return func(tb testing.TB) string {
		path := filepath.Join(modelFolder, "damaged-"+string(kind)+".safetensors")
		require.NoError(tb, synth.Write(tb.Context(), path, synth.Options{Kind: kind, Size: synth.Tiny}))
		return path
	}
}

func published(path string) func(testing.TB) string {
	return func(tb testing.TB) string {
		data, err := os.ReadFile(path)
		require.NoError(tb, err)
		path := filepath.Join(modelFolder, "damaged-"+filepath.Base(path))
		require.NoError(tb, os.WriteFile(path, data, 0o600))
		return path
	}
}

// pickled writes a synthetic file as torch.save does.
func pickled(kind synth.Kind) func(testing.TB) string {
	return func(tb testing.TB) string {
		from, err := safetensors.Open(model(tb, kind))
		require.NoError(tb, err)
		defer from.Close()
		var tensors []torchfiletest.Tensor
		for _, t := range from.Tensors {
			require.Equal(tb, safetensors.F16, t.DType)
			tensors = append(tensors, torchfiletest.Tensor{Name: t.Name, Storage: "HalfStorage", Shape: t.Shape, Values: t.Elements(), Data: io.NewSectionReader(from.Raw(t), 0, t.Size)})
		}
		path := filepath.Join(modelFolder, "damaged-"+string(kind)+".ckpt")
		out, err := os.Create(path)
		require.NoError(tb, err)
		defer out.Close()
		require.NoError(tb, torchfiletest.Write(out, tensors...))
		return path
	}
}

// damaged is a file that is changed in place, since checkpoints are large, and can be
// made whole again.
type damaged struct {
	file *os.File
	size int64
	head int64 // bytes at the beginning that describe the rest
	undo []func() error

	archive bool
}

func openDamaged(tb testing.TB, path string) *damaged {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	require.NoError(tb, err)
	info, err := f.Stat()
	require.NoError(tb, err)
	d := &damaged{file: f, size: info.Size(), head: min(info.Size(), 64<<10)}
	var length [8]byte
	_, err = f.ReadAt(length[:], 0)
	require.NoError(tb, err)
	if d.archive = string(length[:2]) == "PK"; d.archive {
		d.head = min(d.size, 64<<10)
	}
	if n := binary.LittleEndian.Uint64(length[:]); n < uint64(d.size) && filepath.Ext(path) == ".safetensors" {
		d.head = 8 + int64(n)
	}
	return d
}

func (d *damaged) write(at int64, text []byte) error {
	at = max(0, min(at, d.size-int64(len(text))))
	old := make([]byte, len(text))
	if _, err := d.file.ReadAt(old, at); err != nil {
		return err
	}
	d.undo = append(d.undo, func() error { _, err := d.file.WriteAt(old, at); return err })
	_, err := d.file.WriteAt(text, at)
	return err
}

// cut takes up to a mebibyte off the end.
func (d *damaged) cut(n int64) error {
	old := make([]byte, min(n, d.size, 1<<20))
	at := d.size - int64(len(old))
	if _, err := d.file.ReadAt(old, at); err != nil {
		return err
	}
	d.undo = append(d.undo, func() error { _, err := d.file.WriteAt(old, at); return err })
	return d.file.Truncate(at)
}

func (d *damaged) mend() error {
	for len(d.undo) > 0 {
		last := len(d.undo) - 1
		if err := d.undo[last](); err != nil {
			return err
		}
		d.undo = d.undo[:last]
	}
	return nil
}

// extreme are numbers that lengths, sides and offsets should not be.
var extreme = []uint64{0, 1, 1<<31 - 1, 1 << 31, 1<<32 - 1, 1 << 32, 1<<63 - 1, 1 << 63, 1<<64 - 1, 1 << 40, 77}

// hurt changes the file as seed says: bits, numbers in binary and in digits, parts that
// change places, an early end. It befalls what describes the weights: values of their own
// can be wrong in no way that is not a picture's, but for NaN, which asserts of ggml's
// debug builds end the process for.
func (d *damaged) hurt(seed uint64) error {
	r := rand.New(rand.NewPCG(seed, 1))
	somewhere := func() int64 {
		switch kind := r.IntN(8); {
		case kind < 3 && d.archive: // where it has its list of files
			return d.size - 1 - r.Int64N(min(d.size, 4096))
		case kind == 3:
			return r.Int64N(min(d.head, 256))
		default:
			return r.Int64N(d.head)
		}
	}
	for range 1 + r.IntN(3) {
		at := somewhere()
		piece := make([]byte, 1+r.IntN(16))
		n, err := d.file.ReadAt(piece, at)
		if err != nil && err != io.EOF {
			return err
		}
		piece = piece[:n]
		switch r.IntN(7) {
		case 0:
			piece[r.IntN(n)] ^= 1 << r.IntN(8)
		case 1:
			piece = binary.LittleEndian.AppendUint64(nil, extreme[r.IntN(len(extreme))])
		case 2:
			piece = binary.LittleEndian.AppendUint32(nil, uint32(extreme[r.IntN(len(extreme))]))
		case 3: // digits near by
			for i, c := range piece {
				if c >= '0' && c <= '9' {
					piece[i] = '0' + byte(r.IntN(10))
				}
			}
		case 4:
			if _, err := d.file.ReadAt(piece, r.Int64N(max(d.head-int64(n), 1))); err != nil {
				return err
			}
		case 5:
			for i := range piece {
				piece[i] = byte(r.Uint32())
			}
		case 6:
			if err := d.cut(1 + r.Int64N(1<<r.IntN(20))); err != nil {
				return err
			}
			return nil
		}
		if err := d.write(at, piece); err != nil {
			return err
		}
	}
	return nil
}

// FuzzFiles damages model files and hands them to an engine: it may refuse them or work
// with them, and it goes on as before. make sanitize runs it with the sanitizers, and
// with SDWORKER_DAMAGED, the number of ways in which each file is damaged.
func FuzzFiles(f *testing.F) {
	files := map[string]*damaged{} // by name, when first needed
	f.Cleanup(func() {
		for _, d := range files {
			d.file.Close()
		}
	})
	damages := uint64(3)
	if text := os.Getenv("SDWORKER_DAMAGED"); text != "" {
		var err error
		damages, err = strconv.ParseUint(text, 10, 16)
		require.NoError(f, err)
	}
	for i := range specimens {
		for seed := range damages {
			f.Add(uint8(i), seed)
		}
	}
	e := open(f, sdcpp.Options{Checkpoint: model(f, synth.Checkpoint), AllowPickle: true})
	f.Cleanup(func() { require.NoError(f, e.Close()) })
	want, err := e.PredictNoise(f.Context(), unetInput(4, 4))
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, which uint8, seed uint64) {
		s := specimens[int(which)%len(specimens)]
		d := files[s.name]
		if d == nil {
			path := s.path(t)
			d = openDamaged(t, path)
			files[s.name] = d
			require.NoError(t, s.use(t.Context(), e, path), "the whole %s", s.name)
		}
		require.NoError(t, d.hurt(seed))
		e.Renew()
		if err := s.use(t.Context(), e, d.file.Name()); err != nil {
			t.Logf("%s: %v", s.name, err)
			require.NotEqual(t, fault.Broken, fault.CodeOf(err))
		}
		_, err := e.SetLoRAs(t.Context(), nil)
		require.NoError(t, err)
		require.NoError(t, e.SetVAE(t.Context(), ""))
		require.NoError(t, e.SetHypernets(t.Context(), nil))
		require.NoError(t, d.mend())
		got, err := e.PredictNoise(t.Context(), unetInput(4, 4))
		require.NoError(t, err)
		require.Equal(t, want, got)
	})
}
