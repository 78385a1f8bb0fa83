package inference

import (
	"sdworker/fault"
	"sdworker/inference/footprint"
)

const (
	// pixelBytes is what a pixel of a picture costs beside the networks: three floats
	// and three bytes.
	pixelBytes = 15
	// tileCells is the side of the tiles that the VAE works on where memory is short.
	tileCells = 64
)

// Room is how many bytes of the device the calls of its networks may have together, so
// that a part is left for what cannot be foretold; negative where that is not known. It
// goes by the size of the memory and not by what is free, so that a request has the same
// picture every time.
func (i EngineInfo) Room() int64 {
	if i.MemoryBytes == 0 {
		return -1
	}
	return max(i.MemoryBytes/10*9-i.WeightBytes-footprint.Scratch, 0)
}

// UNetRows is the most rows of a UNet call on h by w latent cells that memory has room
// for, beside the VAE that follows; at least 1. It is not bounded where the memory is
// not known. images are the tokens of all pictures that cross attention sees.
func (i EngineInfo) UNetRows(h, w, tokens, controls, images int) int {
	room := i.Room()
	if room < 0 {
		return int(^uint(0) >> 1)
	}
	room -= i.Networks.Decode(min(h, tileCells), min(w, tileCells)) + int64(controls)*i.Networks.ControlWeights()
	return max(i.Networks.Rows(room, h, w, tokens, controls, images), 1)
}

// Admit refuses pictures of width by height pixels that the device has no memory for,
// one by one and in tiles, with so many ControlNets. The error is Exhausted.
func (i EngineInfo) Admit(width, height, controls int) error {
	room := i.Room()
	h, w := height/LatentScale, width/LatentScale
	need := i.Networks.UNet(1, h, w, ChunkTokens, controls, 0) + int64(controls)*i.Networks.ControlWeights() + i.Networks.Decode(min(h, tileCells), min(w, tileCells)) + int64(width)*int64(height)*pixelBytes
	if room < 0 || need <= room {
		return nil
	}
	const mib = 1 << 20
	return fault.Errorf(fault.Exhausted, "memory", "a picture of %dx%d pixels takes about %d MiB beside the model, and there are %d MiB; ask for a smaller one", width, height, need/mib, room/mib)
}
