package sd1

// Sizes of the CLIP ViT-L/14 text encoder (openai/clip-vit-large-patch14).
const (
	clipLayers = 12
	clipMLP    = 3072
)

// CLIP adds the text encoder.
func (n *Net) CLIP(prefix string) {
	n.add(prefix+"embeddings.token_embedding.weight", Embedding, Vocabulary, TextWidth)
	n.add(prefix+"embeddings.position_embedding.weight", Embedding, ChunkTokens, TextWidth)
	for i := range clipLayers {
		layer := at(prefix+"encoder.layers", i)
		for _, p := range []string{"q", "k", "v", "out"} {
			n.linear(layer+".self_attn."+p+"_proj", TextWidth, TextWidth)
		}
		n.norm(layer+".layer_norm1", TextWidth)
		n.norm(layer+".layer_norm2", TextWidth)
		n.linear(layer+".mlp.fc1", TextWidth, clipMLP)
		n.linear(layer+".mlp.fc2", clipMLP, TextWidth)
	}
	n.norm(prefix+"final_layer_norm", TextWidth)
}

// Embedding adds a textual inversion of some token vectors.
func (n *Net) Embedding(vectors int64) {
	n.add("emb_params", Embedding, vectors, TextWidth)
}
