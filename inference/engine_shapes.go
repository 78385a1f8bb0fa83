package inference

import (
	"math"

	"sdworker/fault"
)

// MaxLatentSide bounds a latent's height and width in cells (8192 pixels), far
// above what memory allows, so that no size arithmetic can overflow.
const MaxLatentSide = 1024

// Check reports an Invalid error unless every token id names a vocabulary entry
// or one of in.Vectors, every vector has TextWidth values and Skip is 1..12.
func (in TextInput) Check() error {
	const op = "encode text"
	if len(in.Chunks) == 0 {
		return fault.Errorf(fault.Invalid, op, "no chunk given")
	}
	if in.Skip < 1 || in.Skip > 12 {
		return fault.Errorf(fault.Invalid, op, "clip skip is %d, want 1 to 12", in.Skip)
	}
	for i, v := range in.Vectors {
		if len(v) != TextWidth {
			return fault.Errorf(fault.Invalid, op, "embedding vector %d has %d values, Stable Diffusion 1.x takes %d", i, len(v), TextWidth)
		}
	}
	limit := int32(VocabSize + len(in.Vectors))
	for i := range in.Chunks {
		for j, id := range in.Chunks[i] {
			if id < 0 || id >= limit {
				return fault.Errorf(fault.Invalid, op, "token %d of chunk %d is %d, want 0 to %d", j, i, id, limit-1)
			}
		}
	}
	return nil
}

// Rows returns the batch size b.
func (in UNetInput) Rows() int { return len(in.Timestep) }

// ImageTokens is how many tokens all pictures that cross attention sees have.
func (in UNetInput) ImageTokens() (n int) {
	for _, m := range in.Images {
		n += m.Tokens
	}
	return n
}

// Check reports an Invalid error unless the slices have the lengths that
// Timestep, H, W and channels (EngineInfo.UNetChannels) imply.
func (in UNetInput) Check(channels int) error {
	const op = "unet"
	if err := checkSides(op, in.H, in.W); err != nil {
		return err
	}
	b := in.Rows()
	if b == 0 {
		return fault.Errorf(fault.Invalid, op, "no timestep given: the batch is empty")
	}
	if want := b * channels * in.H * in.W; len(in.Latent) != want {
		return fault.Errorf(fault.Invalid, op, "latent has %d values, want %d for [%d,%d,%d,%d]", len(in.Latent), want, b, channels, in.H, in.W)
	}
	if row := b * ChunkTokens * TextWidth; len(in.Context) == 0 || len(in.Context)%row != 0 {
		return fault.Errorf(fault.Invalid, op, "context has %d values, want a multiple of %d for [%d,k*77,768]", len(in.Context), row, b)
	}
	for i, t := range in.Timestep {
		if !(t >= 0 && t <= 999) { // also refuses NaN
			return fault.Errorf(fault.Invalid, op, "timestep %d is %g, want 0 to 999", i, t)
		}
	}
	if len(in.Control) > MaxControlUnits {
		return fault.Errorf(fault.Invalid, op, "%d ControlNet units, want at most %d", len(in.Control), MaxControlUnits)
	}
	for i, c := range in.Control {
		if err := c.check(i, b, in.H, in.W); err != nil {
			return err
		}
	}
	if in.Perturbed != nil && len(in.Perturbed) != b {
		return fault.Errorf(fault.Invalid, op, "%d rows are perturbed or not, want %d", len(in.Perturbed), b)
	}
	if len(in.Images) > MaxControlUnits {
		return fault.Errorf(fault.Invalid, op, "%d pictures beside the text, want at most %d", len(in.Images), MaxControlUnits)
	}
	for i, m := range in.Images {
		if err := m.check(i, b, in.H, in.W); err != nil {
			return err
		}
	}
	return in.FreeU.Check()
}

func (m ImageInput) check(i, b, h, w int) error {
	const op = "ip-adapter"
	if m.Tokens < 1 || len(m.Values) != b {
		return fault.Errorf(fault.Invalid, op, "picture %d has %d tokens and values of %d rows, want those of %d", i, m.Tokens, len(m.Values), b)
	}
	for _, values := range m.Values {
		if len(values) == 0 || len(values) != len(m.Values[0]) || len(values)%(2*m.Tokens) != 0 {
			return fault.Errorf(fault.Invalid, op, "picture %d has rows of %d and %d values for %d tokens", i, len(m.Values[0]), len(values), m.Tokens)
		}
	}
	if m.Region != nil && len(m.Region) != regionLen(h, w) {
		return fault.Errorf(fault.Invalid, op, "region of picture %d has %d values, want %d", i, len(m.Region), regionLen(h, w))
	}
	return nil
}

// regionLen is how many values the maps of a region have.
func regionLen(h, w int) int {
	n := 0
	for _, size := range RegionSizes(h, w) {
		n += size[0] * size[1]
	}
	return n
}

func (c ControlInput) check(i, b, h, w int) error {
	const op = "controlnet"
	switch {
	case c.Model == "":
		return fault.Errorf(fault.Invalid, op, "unit %d names no model file", i)
	case len(c.Hint) != 3*LatentScale*h*LatentScale*w:
		return fault.Errorf(fault.Invalid, op, "hint of unit %d has %d values, want %d for [3,%d,%d]", i, len(c.Hint), 3*LatentScale*h*LatentScale*w, LatentScale*h, LatentScale*w)
	case len(c.Rows) != b:
		return fault.Errorf(fault.Invalid, op, "unit %d has %d row strengths, want %d", i, len(c.Rows), b)
	case len(c.Layers) != ControlLayers:
		return fault.Errorf(fault.Invalid, op, "unit %d has %d layer strengths, want %d", i, len(c.Layers), ControlLayers)
	}
	if want := regionLen(h, w); c.Region != nil && len(c.Region) != want {
		return fault.Errorf(fault.Invalid, op, "region of unit %d has %d values, want %d", i, len(c.Region), want)
	}
	for _, s := range [][]float32{c.Rows, c.Layers, c.Region} {
		for _, v := range s {
			if math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) {
				return fault.Errorf(fault.Invalid, op, "unit %d has a strength that is not a finite number", i)
			}
		}
	}
	return nil
}

// Check reports an Invalid error unless H and W make at least one latent cell and
// Pixels holds 3*H*W values.
func (in PixelInput) Check() error {
	const op = "encode"
	if err := checkSides(op, in.H/LatentScale, in.W/LatentScale); err != nil {
		return err
	}
	if want := 3 * in.H * in.W; len(in.Pixels) != want {
		return fault.Errorf(fault.Invalid, op, "picture has %d values, want %d for [3,%d,%d]", len(in.Pixels), want, in.H, in.W)
	}
	return checkTiles(op, in.Tiles)
}

// Check reports an Invalid error unless Latent holds 4*H*W values.
func (in LatentInput) Check() error {
	const op = "decode"
	if err := CheckLatent(op, in.Latent, in.H, in.W); err != nil {
		return err
	}
	return checkTiles(op, in.Tiles)
}

// CheckLatent reports an Invalid error unless latent holds the values of
// [4,h,w]. Op names the operation in the error.
func CheckLatent(op string, latent []float32, h, w int) error {
	if err := checkSides(op, h, w); err != nil {
		return err
	}
	if want := LatentChannels * h * w; len(latent) != want {
		return fault.Errorf(fault.Invalid, op, "latent has %d values, want %d for [%d,%d,%d]", len(latent), want, LatentChannels, h, w)
	}
	return nil
}

// CheckPixels reports an Invalid error unless pixels holds the values of
// [3,h,w]. Op names the operation in the error.
func CheckPixels(op string, pixels []float32, h, w int) error {
	if h < 1 || w < 1 || h > MaxLatentSide*LatentScale || w > MaxLatentSide*LatentScale {
		return fault.Errorf(fault.Invalid, op, "picture is %dx%d pixels, want 1 to %d a side", w, h, MaxLatentSide*LatentScale)
	}
	if want := 3 * h * w; len(pixels) != want {
		return fault.Errorf(fault.Invalid, op, "picture has %d values, want %d for [3,%d,%d]", len(pixels), want, h, w)
	}
	return nil
}

func checkSides(op string, h, w int) error {
	if h < 1 || w < 1 || h > MaxLatentSide || w > MaxLatentSide {
		return fault.Errorf(fault.Invalid, op, "latent is %dx%d cells, want 1 to %d a side", w, h, MaxLatentSide)
	}
	return nil
}

func checkTiles(op string, m TileMode) error {
	if m < TileAuto || m > TileAlways {
		return fault.Errorf(fault.Invalid, op, "tile mode %d does not exist", m)
	}
	return nil
}
