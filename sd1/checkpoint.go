package sd1

// UNetWidth is the width of the real UNet.
const UNetWidth = 320

// Checkpoint adds text encoder, UNet and VAE under the prefixes of a checkpoint.
func (n *Net) Checkpoint(unetWidth, unetIn, decoderWidth int64) {
	n.CLIP(CLIPPrefix)
	n.UNet(UNetPrefix, unetWidth, unetIn)
	n.VAE(VAEPrefix, decoderWidth)
}

// Prefixes of the three networks inside a checkpoint.
const (
	CLIPPrefix = "cond_stage_model.transformer.text_model."
	UNetPrefix = "model.diffusion_model."
	VAEPrefix  = "first_stage_model."
)
