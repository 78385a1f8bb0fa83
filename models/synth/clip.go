package synth

// Sizes of the CLIP ViT-L/14 text encoder (openai/clip-vit-large-patch14).
const (
	vocabulary = 49408
	positions  = 77
	clipLayers = 12
	clipMLP    = 3072
)

// clip adds the text encoder.
func (n *net) clip(prefix string) {
	n.add(prefix+"embeddings.token_embedding.weight", small, vocabulary, textWidth)
	n.add(prefix+"embeddings.position_embedding.weight", small, positions, textWidth)
	for i := range clipLayers {
		layer := at(prefix+"encoder.layers", i)
		for _, p := range []string{"q", "k", "v", "out"} {
			n.linear(layer+".self_attn."+p+"_proj", textWidth, textWidth)
		}
		n.norm(layer+".layer_norm1", textWidth)
		n.norm(layer+".layer_norm2", textWidth)
		n.linear(layer+".mlp.fc1", textWidth, clipMLP)
		n.linear(layer+".mlp.fc2", clipMLP, textWidth)
	}
	n.norm(prefix+"final_layer_norm", textWidth)
}
