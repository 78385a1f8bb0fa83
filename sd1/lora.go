package sd1

import "strings"

// adapted is one weight that a LoRA changes, by its diffusers name.
type adapted struct {
	module  string
	in, out int64
}

// LoRARank is the rank of the synthetic adapters.
const LoRARank = 4

// adaptedWeights lists attention and feed-forward weights of a UNet of the given
// width and of the text encoder.
func adaptedWeights(width int64) (unet, text []adapted) {
	transformer := func(name string, ch int64) {
		block := name + ".transformer_blocks.0."
		unet = append(unet, adapted{name + ".proj_in", ch, ch}, adapted{name + ".proj_out", ch, ch})
		for _, attn := range []struct {
			name    string
			context int64
		}{{"attn1", ch}, {"attn2", TextWidth}} {
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
			text = append(text, adapted{layer + ".self_attn." + p + "_proj", TextWidth, TextWidth})
		}
		text = append(text,
			adapted{layer + ".mlp.fc1", TextWidth, clipMLP},
			adapted{layer + ".mlp.fc2", clipMLP, TextWidth})
	}
	return unet, text
}

// pointwise tells whether the adapted weight is a 1x1 convolution.
func (a adapted) pointwise() bool {
	return strings.HasSuffix(a.module, ".proj_in") || strings.HasSuffix(a.module, ".proj_out")
}

// loraPair adds one adapter: down [rank,in] and up [out,rank], with two more sides of
// 1 where the weight is a convolution.
func (n *Net) loraPair(down, up string, a adapted) {
	shape := func(out, in int64) []int64 {
		if a.pointwise() {
			return []int64{out, in, 1, 1}
		}
		return []int64{out, in}
	}
	n.add(down, Weight, shape(LoRARank, a.in)...)
	n.add(up, Weight, shape(a.out, LoRARank)...)
}

// LoRAKohya adds adapters named as kohya's trainer does, the usual form.
func (n *Net) LoRAKohya(width int64) {
	unet, text := adaptedWeights(width)
	for prefix, list := range map[string][]adapted{"lora_unet_": unet, "lora_te_": text} {
		for _, a := range list {
			name := prefix + strings.ReplaceAll(a.module, ".", "_")
			n.loraPair(name+".lora_down.weight", name+".lora_up.weight", a)
			n.add(name+".alpha", Alpha)
		}
	}
}

// LoRADiffusers adds adapters named as diffusers and PEFT do.
func (n *Net) LoRADiffusers(width int64) {
	unet, text := adaptedWeights(width)
	for prefix, list := range map[string][]adapted{"unet.": unet, "text_encoder.": text} {
		for _, a := range list {
			name := prefix + a.module
			n.loraPair(name+".lora_A.weight", name+".lora_B.weight", a)
		}
	}
}
