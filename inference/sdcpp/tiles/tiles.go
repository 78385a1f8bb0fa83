// Package tiles runs a picture through a network piece by piece and blends the
// pieces, so that memory depends on the size of a piece alone.
package tiles

// autoCells is the area from which a VAE may work in tiles: 1024x1024 pixels.
const autoCells = 128 * 128

// bytesPerCell is what a VAE decode of a whole picture needs for each latent
// cell: 2.5 GB at 512x768, buffers of the convolutions included.
const bytesPerCell = 2_500_000_000 / (64 * 96)

// Wanted reports whether a VAE had better work in tiles on a picture of h by w
// latent cells. It looks at the size of the device's memory, not at what is free
// just now, so that a request gives the same picture every time.
func Wanted(h, w int, deviceBytes uint64) bool {
	return h*w >= autoCells && uint64(h*w)*bytesPerCell > deviceBytes/4
}

// Grid cuts a picture into tiles of equal size and puts the results together. Its
// unit of length is a cell; the tiles that go in and the results that come out may
// have several samples for each.
type Grid struct {
	H, W      int  // of the picture
	Tile      int  // longest side of a tile
	Overlap   int  // what neighbours share at least, less than Tile
	Wrap      bool // the picture goes on at its opposite border
	InScale   int  // samples of the input for a cell, along a side
	OutScale  int  // samples of the output for a cell, along a side
	InPlanes  int
	OutPlanes int
}

// Starts returns where tiles of the given length begin along a side of n cells.
// They are spread evenly; with wrap they go round.
func Starts(n, tile, overlap int, wrap bool) []int {
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

// Run calls fn for every tile and blends the results. fn gets the tile's planes
// and its size in cells.
func (g Grid) Run(in []float32, fn func(tile []float32, h, w int) ([]float32, error)) ([]float32, error) {
	th, tw := min(g.Tile, g.H), min(g.Tile, g.W)
	outH, outW := g.H*g.OutScale, g.W*g.OutScale
	out := make([]float32, g.OutPlanes*outH*outW)
	total := make([]float32, outH*outW)
	down := ramp(th*g.OutScale, g.Overlap*g.OutScale)
	across := ramp(tw*g.OutScale, g.Overlap*g.OutScale)
	tile := make([]float32, g.InPlanes*th*g.InScale*tw*g.InScale)

	for _, y := range Starts(g.H, th, g.Overlap, g.Wrap) {
		for _, x := range Starts(g.W, tw, g.Overlap, g.Wrap) {
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
func (g Grid) cut(tile, in []float32, y, x, th, tw int) {
	s := g.InScale
	h, w := g.H*s, g.W*s
	i := 0
	for p := range g.InPlanes {
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
func (g Grid) add(out, total, done []float32, y, x int, down, across []float32) {
	s := g.OutScale
	h, w := g.H*s, g.W*s
	for dy, wy := range down {
		for dx, wx := range across {
			at := (y*s+dy)%h*w + (x*s+dx)%w
			weight := wy * wx
			total[at] += weight
			for p := range g.OutPlanes {
				out[p*h*w+at] += weight * done[(p*len(down)+dy)*len(across)+dx]
			}
		}
	}
}

func ceilDiv(a, b int) int { return (a + b - 1) / b }
