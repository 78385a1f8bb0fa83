package sd1

// Sizes of the Stable Diffusion 1.x UNet that no file changes (v1-inference.yaml).
const (
	levels    = 4 // resolutions
	resBlocks = 2 // residual blocks per resolution
)

// channelMult scales the width at each resolution.
var channelMult = [levels]int64{1, 2, 4, 4}

// UNet adds the UNet of the given width (320 in the real model) and number of
// input channels (4, or 9 for inpainting).
func (n *Net) UNet(prefix string, width, in int64) {
	skips := n.unetEncoder(prefix, width, in)
	ch := skips[len(skips)-1]
	index := 0
	for level := levels - 1; level >= 0; level-- {
		for j := 0; j <= resBlocks; j++ {
			name := at(prefix+"output_blocks", index)
			skip := skips[len(skips)-1]
			skips = skips[:len(skips)-1]
			out := channelMult[level] * width
			n.resBlock(name+".0", ch+skip, out, width)
			ch = out
			next := 1
			if attends(level) {
				n.transformer(name+".1", ch)
				next++
			}
			if level > 0 && j == resBlocks {
				n.conv(at(name, next)+".conv", ch, ch, 3)
			}
			index++
		}
	}
	n.norm(prefix+"out.0", width)
	n.conv(prefix+"out.2", width, 4, 3)
}

// unetEncoder adds time embedding, input blocks and middle block, which a
// ControlNet shares, and returns the width of every skip connection.
func (n *Net) unetEncoder(prefix string, width, in int64) (skips []int64) {
	n.linear(prefix+"time_embed.0", width, 4*width)
	n.linear(prefix+"time_embed.2", 4*width, 4*width)
	n.conv(prefix+"input_blocks.0.0", in, width, 3)
	skips = []int64{width}
	ch := width
	index := 1
	for level, mult := range channelMult {
		for range resBlocks {
			name := at(prefix+"input_blocks", index)
			n.resBlock(name+".0", ch, mult*width, width)
			ch = mult * width
			if attends(level) {
				n.transformer(name+".1", ch)
			}
			skips = append(skips, ch)
			index++
		}
		if level < levels-1 {
			n.conv(at(prefix+"input_blocks", index)+".0.op", ch, ch, 3)
			skips = append(skips, ch)
			index++
		}
	}
	n.resBlock(prefix+"middle_block.0", ch, ch, width)
	n.transformer(prefix+"middle_block.1", ch)
	n.resBlock(prefix+"middle_block.2", ch, ch, width)
	return skips
}

// attends tells whether the blocks of a resolution contain a transformer: all
// but the lowest.
func attends(level int) bool { return level < levels-1 }

// resBlock adds a residual block of a UNet of the given width.
func (n *Net) resBlock(name string, in, out, width int64) {
	n.norm(name+".in_layers.0", in)
	n.conv(name+".in_layers.2", in, out, 3)
	n.linear(name+".emb_layers.1", 4*width, out)
	n.norm(name+".out_layers.0", out)
	n.conv(name+".out_layers.3", out, out, 3)
	if in != out {
		n.conv(name+".skip_connection", in, out, 1)
	}
}

// transformer adds a spatial transformer of depth one.
func (n *Net) transformer(name string, ch int64) {
	n.norm(name+".norm", ch)
	n.conv(name+".proj_in", ch, ch, 1)
	n.conv(name+".proj_out", ch, ch, 1)
	block := name + ".transformer_blocks.0"
	for attn, context := range map[string]int64{".attn1": ch, ".attn2": TextWidth} {
		n.add(block+attn+".to_q.weight", Weight, ch, ch)
		n.add(block+attn+".to_k.weight", Weight, ch, context)
		n.add(block+attn+".to_v.weight", Weight, ch, context)
		n.linear(block+attn+".to_out.0", ch, ch)
	}
	n.linear(block+".ff.net.0.proj", ch, 8*ch)
	n.linear(block+".ff.net.2", 4*ch, ch)
	n.norm(block+".norm1", ch)
	n.norm(block+".norm2", ch)
	n.norm(block+".norm3", ch)
}

// ControlNet adds a ControlNet for a UNet of the given width.
func (n *Net) ControlNet(prefix string, width int64) {
	skips := n.unetEncoder(prefix, width, 4)
	for i, ch := range skips {
		n.conv(at(prefix+"zero_convs", i, 0), ch, ch, 1)
	}
	last := skips[len(skips)-1]
	n.conv(prefix+"middle_block_out.0", last, last, 1)
	hint := []int64{3, 16, 16, 32, 32, 96, 96, 256, width}
	for i := range len(hint) - 1 {
		n.conv(at(prefix+"input_hint_block", 2*i), hint[i], hint[i+1], 3)
	}
}
