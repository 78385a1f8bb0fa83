package rng

// pixelsPerCell is how many pixels one latent cell covers along each side.
const pixelsPerCell = 8

// ImageConfig describes the noise of one batch of images.
type ImageConfig struct {
	Source Source
	Shape  Shape   // of one image
	Seeds  []int64 // one per image

	Subseeds        []int64 // variation seeds; a missing one counts as 0
	SubseedStrength float64 // 0 = no variation

	// SeedResizeW and SeedResizeH are the pixel size whose noise is kept in the
	// middle of the picture. Both must be above 0 to act.
	SeedResizeW, SeedResizeH int

	// SeedDelta is A1111's eta_noise_seed_delta (ENSD): unless 0, all draws after
	// the first come from fresh generators with seed + SeedDelta.
	SeedDelta int64
}

// ImageRNG draws the noise of a batch. Each image has a generator of its own,
// so its noise is the same alone and in any batch.
type ImageRNG struct {
	cfg        ImageConfig
	generators []Generator
	started    bool
}

// NewImageRNG returns the generators of a batch before their first draw.
func NewImageRNG(cfg ImageConfig) *ImageRNG {
	r := &ImageRNG{cfg: cfg}
	r.reseed(0)
	return r
}

// Config returns what the generators were made from.
func (r *ImageRNG) Config() ImageConfig { return r.cfg }

// Len is the number of values of one draw, all images together.
func (r *ImageRNG) Len() int { return len(r.cfg.Seeds) * r.cfg.Shape.Len() }

// Next fills dst, of length Len, with one draw [N,C,H,W]. The first draw
// applies variation seeds and seed resize; the later ones are the plain next
// draws of each generator.
func (r *ImageRNG) Next(dst []float32) {
	size := r.cfg.Shape.Len()
	for i, g := range r.generators {
		image := dst[i*size : (i+1)*size]
		if r.started {
			g.Normal(image)
		} else {
			r.first(i, image)
		}
	}
	if !r.started {
		r.started = true
		if r.cfg.SeedDelta != 0 {
			r.reseed(r.cfg.SeedDelta)
		}
	}
}

func (r *ImageRNG) reseed(delta int64) {
	r.generators = make([]Generator, len(r.cfg.Seeds))
	for i, seed := range r.cfg.Seeds {
		r.generators[i] = NewGenerator(r.cfg.Source, seed+delta)
	}
}

// first makes the start noise of image i.
func (r *ImageRNG) first(i int, dst []float32) {
	from := r.cfg.Shape
	if r.cfg.SeedResizeW > 0 && r.cfg.SeedResizeH > 0 {
		from.H, from.W = r.cfg.SeedResizeH/pixelsPerCell, r.cfg.SeedResizeW/pixelsPerCell
	}
	resized := from != r.cfg.Shape

	noise := dst
	if resized {
		noise = make([]float32, from.Len())
		NewGenerator(r.cfg.Source, r.cfg.Seeds[i]).Normal(noise)
	} else {
		r.generators[i].Normal(noise)
	}
	if r.cfg.SubseedStrength != 0 && r.cfg.Subseeds != nil {
		var subseed int64
		if i < len(r.cfg.Subseeds) {
			subseed = r.cfg.Subseeds[i]
		}
		variation := make([]float32, from.Len())
		NewGenerator(r.cfg.Source, subseed).Normal(variation)
		copy(noise, Slerp(r.cfg.SubseedStrength, noise, variation, from))
	}
	if resized {
		r.generators[i].Normal(dst)
		pasteCentre(dst, r.cfg.Shape, noise, from)
	}
}

// pasteCentre lays src over the middle of dst. Along an axis where src is the
// larger one, its middle part fills dst.
func pasteCentre(dst []float32, to Shape, src []float32, from Shape) {
	toX, fromX, width := overlap(to.W, from.W)
	toY, fromY, height := overlap(to.H, from.H)
	for c := range to.C {
		for y := range height {
			d := (c*to.H+toY+y)*to.W + toX
			s := (c*from.H+fromY+y)*from.W + fromX
			copy(dst[d:d+width], src[s:s+width])
		}
	}
}

// overlap returns where along one axis the pasted part starts in either tensor
// and how long it is. An odd difference rounds down, as Python's // does.
func overlap(to, from int) (toAt, fromAt, length int) {
	if to >= from {
		return (to - from) / 2, 0, from
	}
	cut := (from - to + 1) / 2
	return 0, cut, from - 2*cut
}
