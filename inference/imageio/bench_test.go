package imageio_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"sdworker/inference/imageio"
)

// photo is a picture with the statistics of a photograph: smooth shapes, some
// edges, and grain of a few levels.
func photo(w, h int) imageio.RGB {
	m := imageio.NewRGB(w, h)
	grain := rand.New(rand.NewPCG(1, 2))
	for y := range h {
		for x := range w {
			fx, fy := float64(x)/float64(w), float64(y)/float64(h)
			edge := 0.0
			if math.Hypot(fx-0.5, fy-0.4) < 0.25 {
				edge = 60
			}
			for c := range 3 {
				v := 110 + 60*math.Sin(7*fx+float64(c)) + 40*math.Cos(11*fy*fx+float64(c)) + edge + 3*grain.NormFloat64()
				m.Pix[3*(y*w+x)+c] = uint8(min(max(v, 0), 255))
			}
		}
	}
	return m
}

func noise(w, h int) imageio.RGB {
	m := imageio.NewRGB(w, h)
	source := rand.NewPCG(3, 4)
	for i := range m.Pix {
		m.Pix[i] = uint8(source.Uint64() >> 56)
	}
	return m
}

// drawing is a picture of flat areas with hard borders.
func drawing(w, h int) imageio.RGB {
	m := imageio.Fill(w, h, [3]uint8{240, 240, 250})
	source := rand.New(rand.NewPCG(5, 6))
	for range 60 {
		part := imageio.Fill(source.IntN(w/4)+8, source.IntN(h/4)+8, [3]uint8{uint8(source.IntN(256)), uint8(source.IntN(256)), uint8(source.IntN(256))})
		m.Paste(part, source.IntN(w), source.IntN(h))
	}
	return m
}

func BenchmarkEncodePNG(b *testing.B) {
	for name, m := range map[string]imageio.RGB{"photo": photo(512, 512), "noise": noise(512, 512), "drawing": drawing(512, 512), "flat": imageio.NewRGB(512, 512)} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(m.Pix)))
			size := 0
			for b.Loop() {
				out, err := imageio.EncodePNG(m)
				if err != nil {
					b.Fatal(err)
				}
				size = len(out)
			}
			b.ReportMetric(float64(size), "bytes")
		})
	}
}

func BenchmarkResizeLanczos(b *testing.B) {
	m := photo(512, 512)
	b.ReportAllocs()
	for b.Loop() {
		m.Resize(1024, 1024, imageio.Lanczos)
	}
}

func BenchmarkEncodeJPEG(b *testing.B) {
	m := photo(512, 512)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := imageio.EncodeJPEG(m, 80, "a cat"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEncodeWebP(b *testing.B) {
	m := photo(512, 512)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := imageio.EncodeWebP(m, 80, false, "a cat"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkFillMasked(b *testing.B) {
	m, mask := photo(512, 512), imageio.NewGray(512, 512)
	for i := range mask.Pix {
		if i%512 > 200 && i/512 > 200 {
			mask.Pix[i] = 255
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		imageio.FillMasked(m, mask)
	}
}
