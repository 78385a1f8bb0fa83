package sd1

// ImageEncoder adds CLIP's image encoder as Hugging Face's transformers store it, for
// pictures of 224x224 pixels in patches of 14x14.
func (n *Net) ImageEncoder(width, inner, layers, embedding int64) {
	const name, patch, tokens = "vision_model.", 14, 16*16 + 1
	n.add(name+"embeddings.class_embedding", Embedding, width)
	n.add(name+"embeddings.patch_embedding.weight", Weight, width, 3, patch, patch)
	n.add(name+"embeddings.position_embedding.weight", Embedding, tokens, width)
	n.norm(name+"pre_layrnorm", width)
	for i := range int(layers) {
		layer := at(name+"encoder.layers", i) + "."
		n.norm(layer+"layer_norm1", width)
		n.norm(layer+"layer_norm2", width)
		for _, part := range []string{"q_proj", "k_proj", "v_proj", "out_proj"} {
			n.linear(layer+"self_attn."+part, width, width)
		}
		n.linear(layer+"mlp.fc1", width, inner)
		n.linear(layer+"mlp.fc2", inner, width)
	}
	n.norm(name+"post_layernorm", width)
	n.add("visual_projection.weight", Weight, embedding, width)
}

// IPAdapter adds an IP-Adapter that makes some tokens of an embedding, for a UNet of a
// width.
func (n *Net) IPAdapter(unetWidth, embedding, tokens int64) {
	n.linear("image_proj.proj", embedding, tokens*TextWidth)
	n.norm("image_proj.norm", TextWidth)
	n.imageLayers(unetWidth)
}

// IPAdapterPlus adds an IP-Adapter with a resampler of some width of the encoder's hidden
// states.
func (n *Net) IPAdapterPlus(unetWidth, hidden, tokens, width int64) {
	const name, depth = "image_proj.", 4
	n.add(name+"latents", Embedding, 1, tokens, width)
	n.linear(name+"proj_in", hidden, width)
	for i := range depth {
		attention, forward := at(name+"layers", i, 0)+".", at(name+"layers", i, 1)+"."
		n.norm(attention+"norm1", width)
		n.norm(attention+"norm2", width)
		n.add(attention+"to_q.weight", Weight, width, width)
		n.add(attention+"to_kv.weight", Weight, 2*width, width)
		n.add(attention+"to_out.weight", Weight, width, width)
		n.norm(forward+"0", width)
		n.add(forward+"1.weight", Weight, 4*width, width)
		n.add(forward+"3.weight", Weight, width, 4*width)
	}
	n.linear(name+"proj_out", width, TextWidth)
	n.norm(name+"norm_out", TextWidth)
	n.imageLayers(unetWidth)
}

// imageLayers adds keys and values of every cross attention of a UNet.
func (n *Net) imageLayers(unetWidth int64) {
	for i, channels := range CrossAttentions(unetWidth) {
		name := at("ip_adapter", 2*i+1)
		n.add(name+".to_k_ip.weight", Weight, channels, TextWidth)
		n.add(name+".to_v_ip.weight", Weight, channels, TextWidth)
	}
}

// CrossAttentions are the channels of a UNet's cross attentions: those of the encoder, of
// the decoder and the one in the middle.
func CrossAttentions(unetWidth int64) (channels [16]int64) {
	for i, factor := range [16]int64{1, 1, 2, 2, 4, 4, 4, 4, 4, 2, 2, 2, 1, 1, 1, 4} {
		channels[i] = factor * unetWidth
	}
	return channels
}
