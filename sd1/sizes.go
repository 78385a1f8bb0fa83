package sd1

// Sizes that every Stable Diffusion 1.x checkpoint shares (v1-inference.yaml,
// openai/clip-vit-large-patch14). The C++ side of the engine has the first three in
// shim.h, and the binding does not compile where they differ.
const (
	TextWidth      = 768   // width of a CLIP ViT-L/14 hidden state, which cross attention reads
	ChunkTokens    = 77    // begin token, 75 prompt tokens, end token
	Vocabulary     = 49408 // rows of the token embedding table
	LatentChannels = 4     // of a VAE latent
	LatentScale    = 8     // pixels per latent cell, along each side
)
