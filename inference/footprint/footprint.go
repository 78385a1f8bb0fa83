// Package footprint predicts how much memory the networks of a Stable Diffusion 1.x
// checkpoint need for a call, so that a job is split, tiled or refused before it costs
// anything.
//
// The numbers are those of the engine's graphs, which grow with the area of a picture
// and the rows of a call and with nothing else worth naming: attention keeps no matrix
// of all pairs but in the VAE on a GPU. inference/sdcpp checks them against the engine
// (TestFootprint), docs/reliability.md has the table.
package footprint

import "cmp"

// Networks are what the memory of a call depends on beside its shape. The zero value
// is the real model on a CPU.
type Networks struct {
	UNetWidth    int  // channels of the UNet's first level; 0 = 320
	DecoderWidth int  // channels of the VAE decoder's last level; 0 = 128
	Pairs        bool // the VAE's attention keeps a matrix of all pairs of cells, as on a GPU
}

// Sizes of the real model, which the tables are of.
const (
	unetWidth    = 320
	decoderWidth = 128
)

// Bytes of the real model's graphs for each latent cell of a row, rounded up.
const (
	unetCell    = 22_000  // 21,833 at 64x64 cells, 21,780 at 256x256
	controlCell = 22_700  // a ControlNet: 22,473
	residual    = 13_200  // what ControlNets leave, in the UNet's graph and beside it: twice 6,557
	hintCell    = 9_000   // the hint's features: 8,960, once for all rows
	decodeCell  = 180_500 // 180,240
	encodeCell  = 99_400  // 99,200, whatever the decoder's width
)

// Bytes of the real model's graphs for other units.
const (
	contextToken = 3_100     // of a row: 3,072
	imageToken   = 100_000   // of a row, of a picture that cross attention sees: 99,840
	textChunk    = 1_500_000 // of 77 tokens: 1,467,616
	small        = 1_200_000 // of a row, where pictures are small
	// Scratch is what the kernels of all threads use beside the graphs, and the
	// graphs' descriptions.
	Scratch = 96 << 20
	// Upscaler is the graph of an ESRGAN upscaler for one tile of 192x192 pixels.
	Upscaler = 400_000_000
	// ImageEncoder is the graph of CLIP's image encoder, ViT-H.
	ImageEncoder = 64 << 20
)

func of(n, real int) float64 {
	if n == 0 {
		return 1
	}
	return float64(n) / float64(real)
}

// UNet is what a call of rows of h by w latent cells and a context of so many tokens
// needs, in bytes, together with so many ControlNets and tokens of pictures.
func (n Networks) UNet(rows, h, w, tokens, controls, images int) int64 {
	cells := float64(h * w)
	// Of a narrow network a larger part is of the cell itself, not of its channels.
	width := of(n.UNetWidth, unetWidth)
	perRow := cells*(unetCell*width+100) + contextToken*float64(tokens) + small
	if images > 0 {
		perRow += imageToken * width * float64(images)
	}
	total := float64(rows) * perRow
	if controls > 0 {
		perRow = cells*((float64(controls)*controlCell+residual)*width+100) + contextToken*float64(tokens*controls) + small
		total += float64(rows)*perRow + float64(controls)*cells*hintCell
	}
	return int64(total)
}

// ControlWeights is what the weights of a ControlNet for the checkpoint take, in bytes:
// 16 bits for each of 361,279,120 of the real model.
func (n Networks) ControlWeights() int64 {
	width := int64(cmp.Or(n.UNetWidth, unetWidth))
	return 2 * (3_400*width + 43_000) * width
}

// Rows is the most rows of a call that room bytes are enough for, 0 for none.
func (n Networks) Rows(room int64, h, w, tokens, controls, images int) int {
	once := n.UNet(0, h, w, tokens, controls, images)
	return int(max(room-once, 0) / (n.UNet(1, h, w, tokens, controls, images) - once))
}

// Decode is what the VAE needs for a picture of h by w latent cells in one piece.
func (n Networks) Decode(h, w int) int64 {
	return n.vae(decodeCell*of(n.DecoderWidth, decoderWidth)+200, h, w)
}

// Encode is Decode for the other direction.
func (n Networks) Encode(h, w int) int64 { return n.vae(encodeCell, h, w) }

func (n Networks) vae(perCell float64, h, w int) int64 {
	cells := float64(h * w)
	need := cells*perCell + small
	if n.Pairs {
		// Two of the matrix's size and a little; the graph has its room for them where
		// the picture is small.
		need = max(need, cells*cells*4*1.05+cells*20_000)
	}
	return int64(need)
}

// Text is what the text encoder needs for so many chunks of 77 tokens.
func Text(chunks int) int64 { return int64(chunks)*textChunk + small }
