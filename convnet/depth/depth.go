// Package depth describes Depth Anything (Yang et al. 2024), which tells how near things
// in a picture are: a DINOv2 transformer of any size and a head of convolutions, in the
// authors' files and in those of Hugging Face's transformers.
package depth

import (
	"math"
	"strconv"

	"sdworker/convnet"
)

const (
	// Patch is what both sides of a picture must be multiples of, in pixels.
	Patch     = 14
	epsilon   = 1e-6
	headWidth = 64 // of every DINOv2
)

// Version tells the two series apart, whose files have the same tensors.
type Version int

// Versions.
const (
	V1 Version = 1 // looks at the last four layers of the transformer
	V2 Version = 2 // looks at four layers all over it
)

// Positions says how learned positions are brought to another number of patches.
type Positions int

// Kinds of positions.
const (
	Offset  Positions = iota // as the authors do: scaled by a tenth of a patch more
	Aligned                  // as transformers do
)

// Is tells whether a file holds such a network, by its tensors' names.
func Is(has func(name string) bool) bool {
	return has("pretrained.pos_embed") && has("depth_head.projects.0.weight") ||
		has("backbone.embeddings.position_embeddings") && has("neck.reassemble_stage.layers.0.projection.weight")
}

// names are what a file calls the parts; those with a %d are for each layer.
type names struct {
	cls, positions, patches, norm, blocks   string
	norm1, norm2, out, fc1, fc2, ls1, ls2   string
	query, key, value                       string // or all in qkv
	qkv                                     string
	project, resize, convs, fusion          func(i int) string
	projection, unit1, unit2, first, second string
	head1, head2, head3                     string
}

// Build reads the architecture off a file's tensors, for pictures of h by w pixels. A
// problem is a predicate to put behind the file's name.
func Build(shapes convnet.Shapes, version Version, positions Positions, h, w int) (*convnet.Net, string) {
	b := convnet.New(shapes, 3)
	f := namesOf(b)
	rows, columns := h/Patch, w/Patch
	x := b.Patches(0, f.patches, Patch)
	width := b.Channels(x)
	if width == 0 || width%headWidth != 0 {
		b.Fail("has a transformer of width %d, want a multiple of %d", width, headWidth)
	}
	x = b.Append(b.Array(f.cls, 1, width, 1, 1, width), x)
	learned := b.Dim(f.positions, 1)
	side := int(math.Sqrt(float64(max(learned-1, 0))))
	if side < 1 || side*side != learned-1 {
		b.Fail("has %d positions, which are no square and one", learned)
		side = 1
	}
	at := b.Computed(f.positions, rows*columns+1, width, []int{1, learned, width}, func(values []float32) []float32 {
		return interpolated(values, side, width, rows, columns, positions)
	})
	x = b.Add(x, at)
	layers := b.Count(f.blocks)
	var seen []int
	for i := range layers {
		x = f.layer(b, x, f.blocks+strconv.Itoa(i)+".")
		if looks(version, i, layers) {
			seen = append(seen, b.Cells(b.Take(b.LayerNorm(x, f.norm, epsilon), 1, rows*columns), columns))
		}
	}
	if len(seen) != 4 {
		b.Fail("has a transformer of %d layers", layers)
		_, problem := b.Build()
		return nil, problem
	}
	return b.Build(f.head(b, seen, rows, columns))
}

// looks tells whether the head looks at a layer.
func looks(version Version, i, layers int) bool {
	if version == V1 {
		return i >= layers-4
	}
	switch layers {
	case 24:
		return i == 4 || i == 11 || i == 17 || i == 23
	case 40:
		return i == 9 || i == 19 || i == 29 || i == 39
	}
	return (i+1)%(max(layers/4, 1)) == 0
}

func (f *names) layer(b *convnet.Builder, x int, name string) int {
	width := b.Channels(x)
	y := b.LayerNorm(x, name+f.norm1, epsilon)
	var q, k, v int
	if f.qkv != "" {
		part := func(i int) int { return b.LinearPart(y, name+f.qkv, i*width, width, 3*width) }
		q, k, v = part(0), part(1), part(2)
	} else {
		q, k, v = b.Linear(y, name+f.query), b.Linear(y, name+f.key), b.Linear(y, name+f.value)
	}
	x = b.Add(x, b.LinearScaled(b.Attention(q, k, v, max(width/headWidth, 1)), name+f.out, name+f.ls1))
	y = b.GELU(b.Linear(b.LayerNorm(x, name+f.norm2, epsilon), name+f.fc1))
	return b.Add(x, b.LinearScaled(y, name+f.fc2, name+f.ls2))
}

// head joins what was seen at four layers, from the deepest to the first.
func (f *names) head(b *convnet.Builder, seen []int, rows, columns int) int {
	var features []int
	for i, x := range seen {
		x = b.Conv(x, f.project(i), 1)
		switch i {
		case 0:
			x = b.Spread(x, f.resize(i), 4)
		case 1:
			x = b.Spread(x, f.resize(i), 2)
		case 3:
			x = b.Conv(x, f.resize(i), 2)
		}
		features = append(features, b.Conv(x, f.convs(i), 1))
	}
	sizes := [4][2]int{{8 * rows, 8 * columns}, {4 * rows, 4 * columns}, {2 * rows, 2 * columns}, {rows, columns}}
	path := -1
	for i := 3; i >= 0; i-- {
		name := f.fusion(i)
		if path < 0 {
			path = features[i]
		} else {
			path = b.Add(path, f.residual(b, features[i], name+f.unit1))
		}
		path = f.residual(b, path, name+f.unit2)
		path = b.Conv(b.Stretch(path, sizes[i][0], sizes[i][1]), name+f.projection, 1)
	}
	x := b.Stretch(b.Conv(path, f.head1, 1), Patch*rows, Patch*columns)
	return b.ReLU(b.Conv(b.ReLU(b.Conv(x, f.head2, 1)), f.head3, 1))
}

func (f *names) residual(b *convnet.Builder, x int, name string) int {
	y := b.Conv(b.ReLU(x), name+f.first, 1)
	return b.Add(b.Conv(b.ReLU(y), name+f.second, 1), x)
}

func namesOf(b *convnet.Builder) *names {
	number := func(before, behind string, shift int) func(int) string {
		return func(i int) string { return before + strconv.Itoa(i+shift) + behind }
	}
	if b.Has("pretrained.pos_embed") {
		const head = "depth_head."
		return &names{
			cls: "pretrained.cls_token", positions: "pretrained.pos_embed", patches: "pretrained.patch_embed.proj", norm: "pretrained.norm",
			blocks: "pretrained.blocks.", norm1: "norm1", norm2: "norm2", qkv: "attn.qkv", out: "attn.proj", fc1: "mlp.fc1", fc2: "mlp.fc2",
			ls1: "ls1.gamma", ls2: "ls2.gamma",
			project: number(head+"projects.", "", 0), resize: number(head+"resize_layers.", "", 0), convs: number(head+"scratch.layer", "_rn", 1),
			fusion: number(head+"scratch.refinenet", ".", 1), projection: "out_conv", unit1: "resConfUnit1.", unit2: "resConfUnit2.",
			first: "conv1", second: "conv2", head1: head + "scratch.output_conv1", head2: head + "scratch.output_conv2.0", head3: head + "scratch.output_conv2.2",
		}
	}
	const neck = "neck."
	return &names{
		cls: "backbone.embeddings.cls_token", positions: "backbone.embeddings.position_embeddings", patches: "backbone.embeddings.patch_embeddings.projection",
		norm: "backbone.layernorm", blocks: "backbone.encoder.layer.", norm1: "norm1", norm2: "norm2",
		query: "attention.attention.query", key: "attention.attention.key", value: "attention.attention.value", out: "attention.output.dense",
		fc1: "mlp.fc1", fc2: "mlp.fc2", ls1: "layer_scale1.lambda1", ls2: "layer_scale2.lambda1",
		project: number(neck+"reassemble_stage.layers.", ".projection", 0), resize: number(neck+"reassemble_stage.layers.", ".resize", 0),
		convs: number(neck+"convs.", "", 0), fusion: func(i int) string { return neck + "fusion_stage.layers." + strconv.Itoa(3-i) + "." },
		projection: "projection", unit1: "residual_layer1.", unit2: "residual_layer2.", first: "convolution1", second: "convolution2",
		head1: "head.conv1", head2: "head.conv2", head3: "head.conv3",
	}
}

// interpolated brings positions [1+side²,width] to rows by columns patches by torch's
// bicubic interpolation.
func interpolated(values []float32, side, width, rows, columns int, kind Positions) []float32 {
	if rows == side && columns == side {
		return values
	}
	out := make([]float32, 0, (1+rows*columns)*width)
	out = append(out, values[:width]...)
	down, across := taps(rows, side, kind), taps(columns, side, kind)
	grid := values[width:]
	for _, y := range down {
		for _, x := range across {
			for c := range width {
				var sum float32
				for i, wy := range y.weight {
					var line float32
					for k, wx := range x.weight {
						line += wx * grid[(y.at[i]*side+x.at[k])*width+c]
					}
					sum += wy * line
				}
				out = append(out, sum)
			}
		}
	}
	return out
}

// tap is what one position takes of four neighbours.
type tap struct {
	at     [4]int
	weight [4]float32
}

func taps(n, side int, kind Positions) []tap {
	scale := float64(side) / float64(n)
	if kind == Offset {
		scale = float64(side) / (float64(n) + 0.1)
	}
	const a = -0.75
	out := make([]tap, n)
	for i := range out {
		at := (float64(i)+0.5)*scale - 0.5
		floor := math.Floor(at)
		t := at - floor
		near := func(x float64) float64 { return ((a+2)*x-(a+3))*x*x + 1 }
		far := func(x float64) float64 { return ((a*x-5*a)*x+8*a)*x - 4*a }
		for k, weight := range [4]float64{far(t + 1), near(t), near(1 - t), far(2 - t)} {
			out[i].at[k] = min(max(int(floor)-1+k, 0), side-1)
			out[i].weight[k] = float32(weight)
		}
	}
	return out
}
