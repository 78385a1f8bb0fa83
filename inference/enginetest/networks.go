package enginetest

import (
	"math"

	"sdworker/inference"
)

// unit maps a key to a value in -1..1 that looks random.
func unit(key uint64) float32 {
	key ^= key >> 33
	key *= 0xff51afd7ed558ccd // finalizer of MurmurHash3
	key ^= key >> 33
	key *= 0xc4ceb9fe1a85ec53
	key ^= key >> 33
	return float32(int32(uint32(key>>32))) / (1 << 31)
}

// encodeText is causal like CLIP: the state at position i depends on the tokens
// up to i.
func encodeText(in inference.TextInput, loras []adapter) []float32 {
	const n, width = inference.ChunkTokens, inference.TextWidth
	out := make([]float32, 0, len(in.Chunks)*n*width)
	for _, chunk := range in.Chunks {
		var seen uint64
		for i, id := range chunk {
			var vector []float32
			if id >= inference.VocabSize {
				vector = in.Vectors[id-inference.VocabSize]
				seen = seen*31 + uint64(math.Float32bits(vector[0]))
			} else {
				seen = seen*31 + uint64(id) + 1
			}
			for j := range width {
				v := unit(uint64(id)<<32|uint64(i)<<16|uint64(j)) + 0.3*unit(seen<<10|uint64(j)) +
					0.1*unit(uint64(in.Skip)<<40|uint64(j))
				if vector != nil {
					v += vector[j]
				}
				for _, l := range loras {
					v += float32(l.TextEncoder) * 0.2 * unit(l.seed+uint64(j))
				}
				out = append(out, v)
			}
		}
	}
	return out
}

// alphaBar is the product of 1-beta up to training step t, interpolated in log
// space, for SD 1.x's scaled-linear betas 0.00085..0.012.
func alphaBar(t float32) float64 {
	low := int(t)
	frac := float64(t) - float64(low)
	high := min(low+1, 999)
	return math.Exp(logAlphaBar[low]*(1-frac) + logAlphaBar[high]*frac)
}

var logAlphaBar = func() (table [1000]float64) {
	from, to := math.Sqrt(0.00085), math.Sqrt(0.012)
	sum := 0.0
	for i := range table {
		root := from + (to-from)*float64(i)/999
		sum += math.Log1p(-root * root)
		table[i] = sum
	}
	return table
}()

// predictNoise is the exact noise estimate for a world whose only picture, given
// a context, is a pattern that the context selects, mixed with the mean of each
// latent cell's neighbours.
func predictNoise(in inference.UNetInput, info inference.EngineInfo, st state, controls []uint64) []float32 {
	channels, vPrediction := info.UNetChannels, info.VPrediction
	const c = inference.LatentChannels
	b, area := in.Rows(), in.H*in.W
	out := make([]float32, b*c*area)
	length := len(in.Context) / b
	for row := range b {
		latent := in.Latent[row*channels*area:][:channels*area]
		phases := contextPhases(in.Context[row*length:][:length])
		if st.checkpoint != 0 {
			phases[3] += unit(st.checkpoint)
		}
		for _, l := range st.loras {
			phases[0] += float32(l.UNet) * 2 * unit(l.seed)
			phases[2] += float32(l.UNet)
		}
		phases[1] += edits(in, row, st.hypers)
		bar := alphaBar(in.Timestep[row])
		signal, noise := float32(math.Sqrt(bar)), float32(math.Sqrt(1-bar))
		for ch := range c {
			plane := latent[ch*area:][:area]
			for y := range in.H {
				for x := range in.W {
					at := y*in.W + x
					wave := pattern(phases, ch, y, x, in)
					clean := 0.9*wave + 0.1*neighbours(plane, y, x, in.H, in.W, in.Tiling)
					for extra := c; extra < channels; extra++ { // mask and masked picture of an inpainting checkpoint
						clean += 0.05 * latent[extra*area+at]
					}
					clean += controlled(in.Control, controls, row, ch, y, x, in.W, area) + seen(in.Images, row, ch, at)
					eps := (plane[at] - signal*clean) / noise
					if vPrediction {
						eps = (signal*plane[at] - clean) / noise // v = sqrt(abar)*eps - sqrt(1-abar)*x0
					}
					out[(row*c+ch)*area+at] = eps
				}
			}
		}
	}
	return out
}

// edits is what changes of the UNet for one call change of its picture.
func edits(in inference.UNetInput, row int, hypers []inference.Hypernet) (shift float32) {
	for i, h := range hypers {
		shift += float32(h.Strength) * unit(uint64(i+3))
	}
	if f := in.FreeU; f.Version != 0 {
		for i, s := range f.Stages {
			shift += float32(i+1) * float32((s.Backbone-1)*(1+s.Window.From+s.Window.To)-(s.SkipLow-1)*(1+s.Cutoff)+(s.SkipHigh-1)/2)
		}
		shift += float32(f.Version) / 8
	}
	if in.Perturbed != nil {
		shift += in.Perturbed[row] / 4
	}
	return shift
}

// contextPhases folds a context row into one number for each channel. Every
// value counts, and so does its place.
func contextPhases(context []float32) (phases [inference.LatentChannels]float32) {
	tokens := len(context) / inference.TextWidth
	for i, v := range context {
		phases[i%4] += v * unit(uint64(i))
	}
	for i := range phases {
		phases[i] /= float32(math.Sqrt(float64(tokens))) * 2
	}
	return phases
}

// pattern is the context's picture at one cell: waves, and with circular padding
// an even number of them, so that the picture has no seam.
func pattern(phases [inference.LatentChannels]float32, ch, y, x int, in inference.UNetInput) float32 {
	across := 0.7 * (1 + 0.3*float64(phases[(ch+1)%4]))
	down := 0.5 * (1 + 0.3*float64(phases[(ch+2)%4]))
	if in.Tiling {
		across, down = 4*math.Pi/float64(in.W), 4*math.Pi/float64(in.H)
	}
	return float32(math.Sin(float64(phases[ch]) + across*float64(x) + down*float64(y)))
}

func neighbours(plane []float32, y, x, h, w int, wrap bool) float32 {
	var sum float32
	for _, d := range [4][2]int{{-1, 0}, {1, 0}, {0, -1}, {0, 1}} {
		ny, nx := y+d[0], x+d[1]
		if wrap {
			ny, nx = (ny+h)%h, (nx+w)%w
		} else if ny < 0 || nx < 0 || ny >= h || nx >= w {
			continue
		}
		sum += plane[ny*w+nx]
	}
	return sum / 4
}

func controlled(units []inference.ControlInput, seeds []uint64, row, ch, y, x, w, area int) float32 {
	var sum float32
	for i, u := range units {
		var layers float32
		for _, l := range u.Layers {
			layers += l / inference.ControlLayers
		}
		pixel := u.Hint[(ch%3)*area*64+y*8*w*8+x*8]
		sum += u.Rows[row] * layers * (pixel - 0.5 + 0.1*unit(seeds[i]+uint64(ch)))
	}
	return sum
}

// seen is what pictures beside the text do to a cell.
func seen(images []inference.ImageInput, row, ch, at int) float32 {
	var sum float32
	for i, m := range images {
		var values float32
		for k, v := range m.Values[row] {
			values += v * unit(uint64(k+100*ch))
		}
		if m.Region != nil {
			values *= m.Region[at]
		}
		sum += 0.1 * float32(i+1) * values
	}
	return sum
}

// toRGB has orthonormal rows, so that encode undoes decode within the range of a
// pixel.
var toRGB = [3][4]float32{
	{0.5, 0.5, 0.5, 0.5},
	{0.5, -0.5, 0.5, -0.5},
	{0.5, 0.5, -0.5, -0.5},
}

const contrast = 0.12 // pixel range for a latent unit

func gain(vae uint64) float32 {
	if vae == 0 {
		return contrast
	}
	return contrast * (1 + 0.2*unit(vae))
}

func decode(in inference.LatentInput, vae uint64) []float32 {
	const s = inference.LatentScale
	area, width := in.H*in.W, in.W*s
	out := make([]float32, 3*area*s*s)
	g := gain(vae)
	for c := range 3 {
		for y := range in.H * s {
			for x := range width {
				at := y/s*in.W + x/s
				v := float32(0.5)
				for ch, m := range toRGB[c] {
					v += g * m * in.Latent[ch*area+at]
				}
				out[c*area*s*s+y*width+x] = min(max(v, 0), 1)
			}
		}
	}
	return out
}

func encode(in inference.PixelInput, vae uint64) []float32 {
	const s = inference.LatentScale
	h, w := in.H/s, in.W/s
	area := h * w
	out := make([]float32, 2*inference.LatentChannels*area)
	g := gain(vae)
	for y := range h {
		for x := range w {
			var mean [3]float32
			for c := range 3 {
				for dy := range s {
					for _, p := range in.Pixels[c*in.H*in.W+(y*s+dy)*in.W+x*s:][:s] {
						mean[c] += p / (s * s)
					}
				}
			}
			for ch := range inference.LatentChannels {
				var z float32
				for c := range 3 {
					z += toRGB[c][ch] * (mean[c] - 0.5) / g
				}
				out[ch*area+y*w+x] = z
				out[(inference.LatentChannels+ch)*area+y*w+x] = -18 // log variance of about the real encoder's size
			}
		}
	}
	return out
}

func repeatPixels(pixels []float32, h, w, factor int) []float32 {
	out := make([]float32, 3*h*factor*w*factor)
	for c := range 3 {
		for y := range h * factor {
			for x := range w * factor {
				out[(c*h*factor+y)*w*factor+x] = pixels[(c*h+y/factor)*w+x/factor]
			}
		}
	}
	return out
}
