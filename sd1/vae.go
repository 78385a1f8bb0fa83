package sd1

// VAEWidth is the width of the real VAE; the engine reads the decoder's from
// the file and takes the encoder's for granted.
const VAEWidth = 128

// VAE adds encoder and decoder of the KL autoencoder.
func (n *Net) VAE(prefix string, decoderWidth int64) {
	n.vaeEncoder(prefix+"encoder.", VAEWidth)
	n.vaeDecoder(prefix+"decoder.", decoderWidth)
	n.conv(prefix+"quant_conv", 8, 8, 1)
	n.conv(prefix+"post_quant_conv", 4, 4, 1)
}

func (n *Net) vaeEncoder(prefix string, width int64) {
	n.conv(prefix+"conv_in", 3, width, 3)
	ch := width
	for level, mult := range channelMult {
		down := at(prefix+"down", level)
		for j := range resBlocks {
			n.vaeBlock(at(down+".block", j), ch, mult*width)
			ch = mult * width
		}
		if level < levels-1 {
			n.conv(down+".downsample.conv", ch, ch, 3)
		}
	}
	n.vaeMiddle(prefix+"mid.", ch)
	n.norm(prefix+"norm_out", ch)
	n.conv(prefix+"conv_out", ch, 8, 3) // mean and log variance of four channels
}

func (n *Net) vaeDecoder(prefix string, width int64) {
	ch := channelMult[levels-1] * width
	n.conv(prefix+"conv_in", 4, ch, 3)
	n.vaeMiddle(prefix+"mid.", ch)
	for level := levels - 1; level >= 0; level-- {
		up := at(prefix+"up", level)
		for j := range resBlocks + 1 {
			n.vaeBlock(at(up+".block", j), ch, channelMult[level]*width)
			ch = channelMult[level] * width
		}
		if level > 0 {
			n.conv(up+".upsample.conv", ch, ch, 3)
		}
	}
	n.norm(prefix+"norm_out", ch)
	n.conv(prefix+"conv_out", ch, 3, 3)
}

func (n *Net) vaeMiddle(prefix string, ch int64) {
	n.vaeBlock(prefix+"block_1", ch, ch)
	n.vaeBlock(prefix+"block_2", ch, ch)
	n.norm(prefix+"attn_1.norm", ch)
	for _, p := range []string{"q", "k", "v", "proj_out"} {
		n.conv(prefix+"attn_1."+p, ch, ch, 1)
	}
}

func (n *Net) vaeBlock(name string, in, out int64) {
	n.norm(name+".norm1", in)
	n.conv(name+".conv1", in, out, 3)
	n.norm(name+".norm2", out)
	n.conv(name+".conv2", out, out, 3)
	if in != out {
		n.conv(name+".nin_shortcut", in, out, 1)
	}
}

// TAESD adds the small autoencoder used for previews, with the names of its
// diffusers file; gaps in the numbers are activations and up-sampling.
func (n *Net) TAESD() {
	const ch = 64
	n.conv("encoder.layers.0", 3, ch, 3)
	for i := 1; i <= 13; i++ {
		name := at("encoder.layers", i)
		if i == 2 || i == 6 || i == 10 {
			n.add(name+".weight", Weight, ch, ch, 3, 3) // halves the picture, no bias
			continue
		}
		n.taesdBlock(name, ch)
	}
	n.conv("encoder.layers.14", ch, 4, 3)

	n.conv("decoder.layers.0", 4, ch, 3)
	for i := 2; i <= 17; i++ {
		name := at("decoder.layers", i)
		switch i {
		case 5, 10, 15: // up-sampling
		case 6, 11, 16:
			n.add(name+".weight", Weight, ch, ch, 3, 3)
		default:
			n.taesdBlock(name, ch)
		}
	}
	n.conv("decoder.layers.18", ch, 3, 3)
}

func (n *Net) taesdBlock(name string, ch int64) {
	for _, i := range []int{0, 2, 4} {
		n.conv(at(name+".conv", i), ch, ch, 3)
	}
}
