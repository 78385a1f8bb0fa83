package synth

import (
	"strconv"
	"strings"
)

// esrgan adds an RRDB upscaler by four with the given number of blocks; a real
// one has 23 (or 6, the anime variant).
func (n *net) esrgan(blocks int) {
	const feat, grow = 64, 32
	n.conv("conv_first", 3, feat, 3)
	for i := range blocks {
		for j := 1; j <= 3; j++ {
			dense := at("body", i) + ".rdb" + strconv.Itoa(j)
			for k := range int64(4) {
				n.conv(dense+".conv"+strconv.Itoa(int(k)+1), feat+k*grow, grow, 3)
			}
			n.conv(dense+".conv5", feat+4*grow, feat, 3)
		}
	}
	for _, name := range []string{"conv_body", "conv_up1", "conv_up2", "conv_hr"} {
		n.conv(name, feat, feat, 3)
	}
	n.conv("conv_last", feat, 3, 3)
}

// embedding adds a textual inversion of some token vectors.
func (n *net) embedding(vectors int64) {
	n.add("emb_params", small, vectors, textWidth)
}

// adapted is one weight that a LoRA changes, by its diffusers name.
type adapted struct {
	module  string
	in, out int64
}

// loraRank is the rank of the synthetic adapters.
const loraRank = 4

// adaptedWeights lists attention and feed-forward weights of a UNet of the given
// width and of the text encoder.
func adaptedWeights(width int64) (unet, text []adapted) {
	transformer := func(name string, ch int64) {
		block := name + ".transformer_blocks.0."
		unet = append(unet, adapted{name + ".proj_in", ch, ch}, adapted{name + ".proj_out", ch, ch})
		for _, attn := range []struct {
			name    string
			context int64
		}{{"attn1", ch}, {"attn2", textWidth}} {
			unet = append(unet,
				adapted{block + attn.name + ".to_q", ch, ch},
				adapted{block + attn.name + ".to_k", attn.context, ch},
				adapted{block + attn.name + ".to_v", attn.context, ch},
				adapted{block + attn.name + ".to_out.0", ch, ch})
		}
		unet = append(unet,
			adapted{block + "ff.net.0.proj", ch, 8 * ch},
			adapted{block + "ff.net.2", 4 * ch, ch})
	}
	for level := range levels - 1 {
		for j := range resBlocks {
			transformer(at("down_blocks", level)+at(".attentions", j), channelMult[level]*width)
		}
		for j := range resBlocks + 1 {
			transformer(at("up_blocks", levels-1-level)+at(".attentions", j), channelMult[level]*width)
		}
	}
	transformer("mid_block.attentions.0", channelMult[levels-1]*width)
	for i := range clipLayers {
		layer := at("text_model.encoder.layers", i)
		for _, p := range []string{"q", "k", "v", "out"} {
			text = append(text, adapted{layer + ".self_attn." + p + "_proj", textWidth, textWidth})
		}
		text = append(text,
			adapted{layer + ".mlp.fc1", textWidth, clipMLP},
			adapted{layer + ".mlp.fc2", clipMLP, textWidth})
	}
	return unet, text
}

// pointwise tells whether the adapted weight is a 1x1 convolution.
func (a adapted) pointwise() bool {
	return strings.HasSuffix(a.module, ".proj_in") || strings.HasSuffix(a.module, ".proj_out")
}

// loraPair adds one adapter: down [rank,in] and up [out,rank], with two more sides of
// 1 where the weight is a convolution.
func (n *net) loraPair(down, up string, a adapted) {
	shape := func(out, in int64) []int64 {
		if a.pointwise() {
			return []int64{out, in, 1, 1}
		}
		return []int64{out, in}
	}
	n.add(down, fanIn, shape(loraRank, a.in)...)
	n.add(up, fanIn, shape(a.out, loraRank)...)
}

// loraKohya adds adapters named as kohya's trainer does, the usual form.
func (n *net) loraKohya(width int64) {
	unet, text := adaptedWeights(width)
	for prefix, list := range map[string][]adapted{"lora_unet_": unet, "lora_te_": text} {
		for _, a := range list {
			name := prefix + strings.ReplaceAll(a.module, ".", "_")
			n.loraPair(name+".lora_down.weight", name+".lora_up.weight", a)
			n.add(name+".alpha", halfScale)
		}
	}
}

// loraDiffusers adds adapters named as diffusers and PEFT do.
func (n *net) loraDiffusers(width int64) {
	unet, text := adaptedWeights(width)
	for prefix, list := range map[string][]adapted{"unet.": unet, "text_encoder.": text} {
		for _, a := range list {
			name := prefix + a.module
			n.loraPair(name+".lora_A.weight", name+".lora_B.weight", a)
		}
	}
}
