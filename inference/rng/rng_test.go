package rng_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"sdworker/inference/rng"
	"sdworker/internal/vectors"
)

type rngCase struct {
	Kind, ID, Source string
	Seed             string
	Seeds, Subseeds  []string
	Shape            []int
	Draws            []tensor
	Calls            [][]tensor

	Uint32         []uint32
	UniformFloat32 []float64 `json:"uniform_float32"`
	UniformFloat64 []float64 `json:"uniform_float64"`

	Offset    uint32
	N         int
	WordsXYZW [][4]uint32 `json:"words_xyzw"`

	ENSD            int64   `json:"eta_noise_seed_delta"`
	SubseedStrength float64 `json:"subseed_strength"`
	SeedResizeH     int     `json:"seed_resize_from_h"`
	SeedResizeW     int     `json:"seed_resize_from_w"`

	LowSeed  string `json:"low_seed"`
	HighSeed string `json:"high_seed"`
	Val      float64
	Result   tensor
}

func TestGenerators(t *testing.T) {
	var file struct{ Cases []rngCase }
	vectors.Load(t, "numeric/rng.json", &file)
	require.NotEmpty(t, file.Cases)
	checks := map[string]func(*testing.T, rngCase){
		"stream":       checkStream,
		"mt19937":      checkMersenne,
		"philox_words": checkPhiloxWords,
		"image_rng":    checkImageRNG,
		"slerp":        checkSlerp,
	}
	for _, tc := range file.Cases {
		t.Run(tc.ID, func(t *testing.T) {
			require.Contains(t, checks, tc.Kind)
			checks[tc.Kind](t, tc)
		})
	}
}

func checkStream(t *testing.T, tc rngCase) {
	src := source(t, tc.Source)
	g := rng.NewGenerator(src, int64(number(t, tc.Seed)))
	for _, draw := range tc.Draws {
		got := make([]float32, size(draw.Shape))
		g.Normal(got)
		draw.check(t, got, drawTolerance(src))
	}
}

func checkMersenne(t *testing.T, tc rngCase) {
	seed := number(t, tc.Seed)
	m := rng.NewMersenne(seed)
	for i, want := range tc.Uint32 {
		require.Equal(t, want, m.Uint32(), "word %d", i)
	}
	m = rng.NewMersenne(seed)
	for i, want := range tc.UniformFloat32 {
		require.Equal(t, float32(want), m.Float32(), "float32 %d", i)
	}
	m = rng.NewMersenne(seed)
	for i, want := range tc.UniformFloat64 {
		require.Equal(t, want, m.Float64(), "float64 %d", i)
	}
}

func checkPhiloxWords(t *testing.T, tc rngCase) {
	require.Len(t, tc.WordsXYZW, tc.N)
	for i, want := range tc.WordsXYZW {
		require.Equal(t, want, rng.PhiloxWords(number(t, tc.Seed), tc.Offset, uint32(i)))
	}
}

func checkImageRNG(t *testing.T, tc rngCase) {
	cfg := rng.ImageConfig{
		Source:          source(t, tc.Source),
		Shape:           rng.Shape{C: tc.Shape[0], H: tc.Shape[1], W: tc.Shape[2]},
		Seeds:           numbers(t, tc.Seeds),
		Subseeds:        numbers(t, tc.Subseeds),
		SubseedStrength: tc.SubseedStrength,
		SeedResizeW:     tc.SeedResizeW,
		SeedResizeH:     tc.SeedResizeH,
		SeedDelta:       tc.ENSD,
	}
	r := rng.NewImageRNG(cfg)
	tolerance := drawTolerance(cfg.Source)
	if cfg.SubseedStrength != 0 {
		tolerance = 1e-5
	}
	got := make([]float32, r.Len())
	for _, call := range tc.Calls {
		r.Next(got)
		require.Len(t, call, len(cfg.Seeds))
		for i, want := range call {
			want.check(t, got[i*cfg.Shape.Len():(i+1)*cfg.Shape.Len()], tolerance)
		}
	}
}

func checkSlerp(t *testing.T, tc rngCase) {
	src := source(t, tc.Source)
	shape := rng.Shape{C: tc.Result.Shape[0], H: tc.Result.Shape[1], W: tc.Result.Shape[2]}
	low, high := make([]float32, shape.Len()), make([]float32, shape.Len())
	rng.NewGenerator(src, int64(number(t, tc.LowSeed))).Normal(low)
	rng.NewGenerator(src, int64(number(t, tc.HighSeed))).Normal(high)
	tc.Result.check(t, rng.Slerp(tc.Val, low, high, shape), 1e-5)
}

func TestPhilox(t *testing.T) {
	var file struct {
		Cases []struct {
			Name  string
			Input struct {
				Seed  int64
				Draw  int
				Shape []int
			}
			Want struct {
				First, Last    []float64
				Sum, Mean, Std *float64
			}
		}
	}
	vectors.Load(t, "philox.json", &file)
	require.NotEmpty(t, file.Cases)
	for _, tc := range file.Cases {
		t.Run(tc.Name, func(t *testing.T) {
			got := make([]float32, size(tc.Input.Shape))
			g := rng.NewGenerator(rng.NV, tc.Input.Seed)
			for range tc.Input.Draw + 1 {
				g.Normal(got)
			}
			tensor{First: tc.Want.First, Last: tc.Want.Last}.check(t, got, 1e-5)
			if tc.Want.Sum != nil {
				require.InDelta(t, *tc.Want.Sum, sum(got), 1e-2)
			}
			if tc.Want.Mean != nil {
				require.InDelta(t, *tc.Want.Mean, sum(got)/float64(len(got)), 1e-5)
			}
		})
	}
}

func TestSlerp(t *testing.T) {
	var file struct {
		Cases []struct {
			Name  string
			Input struct {
				LowSeed  int64 `json:"low_seed"`
				HighSeed int64 `json:"high_seed"`
				Strength float64
				Shape    [3]int
			}
			Want struct {
				First []float64
				Sum   float64
			}
		}
	}
	vectors.Load(t, "slerp.json", &file)
	require.NotEmpty(t, file.Cases)
	for _, tc := range file.Cases {
		t.Run(tc.Name, func(t *testing.T) {
			shape := rng.Shape{C: tc.Input.Shape[0], H: tc.Input.Shape[1], W: tc.Input.Shape[2]}
			low, high := make([]float32, shape.Len()), make([]float32, shape.Len())
			rng.NewGenerator(rng.NV, tc.Input.LowSeed).Normal(low)
			rng.NewGenerator(rng.NV, tc.Input.HighSeed).Normal(high)
			got := rng.Slerp(tc.Input.Strength, low, high, shape)
			tensor{First: tc.Want.First}.check(t, got, 1e-4)
			require.InDelta(t, tc.Want.Sum, sum(got), 1e-2)
		})
	}
}

func TestSlerpOfFlatLatent(t *testing.T) {
	shape := rng.Shape{C: 1, H: 1, W: 2}
	got := rng.Slerp(0.25, []float32{1, -1}, []float32{3, 3}, shape)
	require.InDeltaSlice(t, []float32{1.5, 0}, got, 1e-6)
}

func TestImageSeeds(t *testing.T) {
	var file struct {
		Cases []struct {
			Name  string
			Input struct {
				Seed, Subseed   int64
				SubseedStrength float64 `json:"subseed_strength"`
				BatchSize       int     `json:"batch_size"`
				NIter           int     `json:"n_iter"`
			}
			Want struct {
				Seeds    []int64 `json:"all_seeds"`
				Subseeds []int64 `json:"all_subseeds"`
			}
		}
	}
	vectors.Load(t, "seeds.json", &file)
	require.NotEmpty(t, file.Cases)
	for _, tc := range file.Cases {
		t.Run(tc.Name, func(t *testing.T) {
			in := tc.Input
			seeds, subseeds := rng.ImageSeeds(in.Seed, in.Subseed, in.SubseedStrength, in.BatchSize*in.NIter)
			require.Equal(t, tc.Want.Seeds, seeds)
			require.Equal(t, tc.Want.Subseeds, subseeds)
		})
	}
}

func TestSourceNames(t *testing.T) {
	var file struct {
		Cases []struct {
			Name string
			Want []string
		}
	}
	vectors.Load(t, "lists.json", &file)
	for _, tc := range file.Cases {
		if tc.Name == "randn_source values" {
			require.Equal(t, tc.Want, rng.SourceNames())
			for _, name := range tc.Want {
				require.Equal(t, name, source(t, name).String())
			}
			return
		}
	}
	t.Fatal("lists.json has no randn_source values")
}

func TestParseSourceRefusesUnknownNames(t *testing.T) {
	_, err := rng.ParseSource("cpu")
	require.ErrorContains(t, err, `"cpu"`)
}

// The noise of an image must not depend on its batch mates.
func TestNoiseIsTheSameAloneAndInABatch(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cfg := rng.ImageConfig{
			Source:          rapid.SampledFrom([]rng.Source{rng.GPU, rng.CPU, rng.NV}).Draw(t, "source"),
			Shape:           rng.Shape{C: 4, H: rapid.IntRange(1, 9).Draw(t, "h"), W: rapid.IntRange(1, 9).Draw(t, "w")},
			Seeds:           rapid.SliceOfN(rapid.Int64Range(0, 1<<40), 1, 4).Draw(t, "seeds"),
			SubseedStrength: rapid.SampledFrom([]float64{0, 0.3, 1}).Draw(t, "strength"),
			SeedDelta:       rapid.SampledFrom([]int64{0, 31337}).Draw(t, "delta"),
			SeedResizeW:     rapid.SampledFrom([]int{0, 24, 80}).Draw(t, "resize w"),
			SeedResizeH:     rapid.SampledFrom([]int{0, 40, 64}).Draw(t, "resize h"),
		}
		for range cfg.Seeds {
			cfg.Subseeds = append(cfg.Subseeds, rapid.Int64Range(0, 1<<40).Draw(t, "subseed"))
		}
		batch := rng.NewImageRNG(cfg)
		var alone []*rng.ImageRNG
		for i := range cfg.Seeds {
			one := cfg
			one.Seeds, one.Subseeds = cfg.Seeds[i:i+1], cfg.Subseeds[i:i+1]
			alone = append(alone, rng.NewImageRNG(one))
		}
		all, image := make([]float32, batch.Len()), make([]float32, cfg.Shape.Len())
		for range 3 {
			batch.Next(all)
			for i, r := range alone {
				r.Next(image)
				if !equal(image, all[i*len(image):(i+1)*len(image)]) {
					t.Fatalf("image %d differs", i)
				}
			}
		}
	})
}

func equal(a, b []float32) bool {
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return len(a) == len(b)
}

func size(shape []int) int {
	n := 1
	for _, s := range shape {
		n *= s
	}
	return n
}

func sum(v []float32) (s float64) {
	for _, x := range v {
		s += float64(x)
	}
	return s
}

func numbers(t *testing.T, list []string) []int64 {
	var out []int64
	for _, s := range list {
		out = append(out, int64(number(t, s)))
	}
	return out
}
