package inference

import (
	"context"

	"sdworker/convnet/ipadapter"
	"sdworker/inference/hint"
)

// imageUnit is a ControlNet unit of an IP-Adapter, prepared for a pass.
type imageUnit struct {
	tokens       int
	seen, unseen []float32 // values of rows with the prompt, and without
	start, end   float64
	region       []float32
}

// prepareImages looks at the pictures of IP-Adapters for a pass. As in the extension they
// act in the first pass and in the hires pass alike.
func (j *job) prepareImages(ctx context.Context, p *pass) ([]imageUnit, error) {
	var units []imageUnit
	for i := range j.req.Control {
		u := &j.req.Control[i]
		if u.Encoder == "" {
			continue
		}
		prompt, err := j.imagePrompt(ctx, u)
		if err != nil {
			return nil, err
		}
		unit := imageUnit{
			tokens: prompt.Tokens, start: u.Start, end: u.End,
			seen: prompt.Weighted(prompt.Seen, u.imageWeight), unseen: prompt.Weighted(prompt.Unseen, u.imageWeight),
		}
		if u.Region != nil {
			unit.region = regionMaps(*u.Region, p.size.h, p.size.w)
		}
		units = append(units, unit)
	}
	return units, nil
}

// imagePrompt is what a unit shows of its pictures: of several the mean, which keys and
// values have as their tokens do.
func (j *job) imagePrompt(ctx context.Context, u *ControlUnit) (ImagePrompt, error) {
	pictures, err := j.visionPictures(u)
	if err != nil {
		return ImagePrompt{}, err
	}
	var mean ImagePrompt
	for i, picture := range pictures {
		prompt, err := j.eng.ImagePrompt(ctx, ImagePromptInput{Adapter: u.Model, Encoder: u.Encoder, Pixels: hint.Vision(picture)})
		if err != nil || len(pictures) == 1 {
			return prompt, err
		}
		if i == 0 {
			mean = ImagePrompt{Tokens: prompt.Tokens, Channels: prompt.Channels, Seen: make([]float32, len(prompt.Seen)), Unseen: make([]float32, len(prompt.Unseen))}
		}
		addShare(mean.Seen, prompt.Seen, len(pictures))
		addShare(mean.Unseen, prompt.Unseen, len(pictures))
	}
	return mean, nil
}

// addShare adds one of n equal parts to a mean.
func addShare(mean, values []float32, n int) {
	for i, v := range values {
		mean[i] += v / float32(n)
	}
}

// visionPictures are the pictures that a unit of an IP-Adapter looks at. As in the
// extension a job's mask cuts one picture, and several stay whole.
func (j *job) visionPictures(u *ControlUnit) ([]hint.Picture, error) {
	if len(u.More) == 0 {
		picture, _, err := j.controlPicture(u)
		return []hint.Picture{picture}, err
	}
	pictures := []hint.Picture{{RGB: u.Image, Mask: u.Mask}}
	for _, m := range u.More {
		pictures = append(pictures, hint.Picture{RGB: m.Image, Mask: m.Mask})
	}
	return pictures, nil
}

// imageWeight is the strength of a layer as files number them. LayerWeights go from the
// UNet's input to its output, and those of 0 or less do nothing, as in the extension.
func (u *ControlUnit) imageWeight(layer int) float64 {
	switch {
	case u.LayerWeights == nil:
		return u.Weight
	case layer == ipadapter.Layers-1:
		layer = ipadapter.Middle
	case layer >= ipadapter.Middle:
		layer++
	}
	return max(u.LayerWeights[layer], 0)
}

// active reports whether the unit acts at this fraction of the pass.
func (u *imageUnit) active(fraction float64) bool { return fraction >= u.start && fraction <= u.end }

// input is the unit's part in a UNet call; conditional says which rows have the prompt.
func (u *imageUnit) input(conditional []bool) ImageInput {
	in := ImageInput{Tokens: u.tokens, Region: u.region}
	for _, cond := range conditional {
		if cond {
			in.Values = append(in.Values, u.seen)
		} else {
			in.Values = append(in.Values, u.unseen)
		}
	}
	return in
}

// imageTokens is how many tokens all pictures of a pass have.
func (p *pass) imageTokens() (n int) {
	for i := range p.images {
		n += p.images[i].tokens
	}
	return n
}
