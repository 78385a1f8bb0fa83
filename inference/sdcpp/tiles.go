package sdcpp

// Sizes of tiles in cells: latent cells for the VAE, pixels for upscalers. The
// VAE's overlap covers the reach of its convolutions. The upscaler's numbers are
// A1111's defaults, ESRGAN_tile and ESRGAN_tile_overlap.
const (
	vaeTile        = 64
	vaeOverlap     = 16
	upscaleTile    = 192
	upscaleOverlap = 8
)

// autoTileCells is the area from which TileAuto may choose tiles: 1024x1024 pixels.
const autoTileCells = 128 * 128

// vaeBytesPerCell is what a whole decode needs for each latent cell: 2.5 GB at
// 512x768, im2col buffers included.
const vaeBytesPerCell = 2_500_000_000 / (64 * 96)

// wantTiles decides for TileAuto. It looks at the device's size, not at what is
// free just now, so that a request gives the same picture every time.
func wantTiles(h, w int, deviceBytes uint64) bool {
	return h*w >= autoTileCells && uint64(h*w)*vaeBytesPerCell > deviceBytes/4
}

// grid cuts a picture into tiles of equal size and puts the results together.
type grid struct {
	h, w              int // cells
	tile, overlap     int // cells; at least overlap cells are shared by neighbours
	wrap              bool
	inScale, outScale int // samples for each cell along a side
	inPlanes          int
	outPlanes         int
}

// starts returns where tiles of the given length begin along a side of n cells.
// They are spread evenly; with wrap they go round.
func starts(n, tile, overlap int, wrap bool) []int {
	if wrap {
		count := ceilDiv(n, tile-overlap)
		at := make([]int, count)
		for i := range at {
			at[i] = i * n / count
		}
		return at
	}
	if n <= tile {
		return []int{0}
	}
	count := ceilDiv(n-overlap, tile-overlap)
	at := make([]int, count)
	for i := range at {
		at[i] = i * (n - tile) / (count - 1)
	}
	return at
}

// ramp returns the weight of each of n samples of a tile: 1 inside, falling to
// its borders over overlap samples.
func ramp(n, overlap int) []float32 {
	weights := make([]float32, n)
	for i := range weights {
		fromEdge := float32(min(i, n-1-i)) + 0.5
		weights[i] = min(1, fromEdge/float32(overlap))
	}
	return weights
}

// run calls fn for every tile and blends the results. fn gets the tile's planes
// and its size in cells.
func (g grid) run(in []float32, fn func(tile []float32, h, w int) ([]float32, error)) ([]float32, error) {
	th, tw := min(g.tile, g.h), min(g.tile, g.w)
	outH, outW := g.h*g.outScale, g.w*g.outScale
	out := make([]float32, g.outPlanes*outH*outW)
	total := make([]float32, outH*outW)
	down := ramp(th*g.outScale, g.overlap*g.outScale)
	across := ramp(tw*g.outScale, g.overlap*g.outScale)
	tile := make([]float32, g.inPlanes*th*g.inScale*tw*g.inScale)

	for _, y := range starts(g.h, th, g.overlap, g.wrap) {
		for _, x := range starts(g.w, tw, g.overlap, g.wrap) {
			g.cut(tile, in, y, x, th, tw)
			done, err := fn(tile, th, tw)
			if err != nil {
				return nil, err
			}
			g.add(out, total, done, y, x, down, across)
		}
	}
	for i := range out {
		out[i] /= total[i%len(total)]
	}
	return out, nil
}

// cut copies the tile at cell y, x out of the picture.
func (g grid) cut(tile, in []float32, y, x, th, tw int) {
	s := g.inScale
	h, w := g.h*s, g.w*s
	i := 0
	for p := range g.inPlanes {
		for dy := range th * s {
			row := in[(p*h+(y*s+dy)%h)*w:][:w]
			for dx := range tw * s {
				tile[i] = row[(x*s+dx)%w]
				i++
			}
		}
	}
}

// add adds a finished tile and its weights.
func (g grid) add(out, total, done []float32, y, x int, down, across []float32) {
	s := g.outScale
	h, w := g.h*s, g.w*s
	for dy, wy := range down {
		for dx, wx := range across {
			at := (y*s+dy)%h*w + (x*s+dx)%w
			weight := wy * wx
			total[at] += weight
			for p := range g.outPlanes {
				out[p*h*w+at] += weight * done[(p*len(down)+dy)*len(across)+dx]
			}
		}
	}
}

func ceilDiv(a, b int) int { return (a + b - 1) / b }
