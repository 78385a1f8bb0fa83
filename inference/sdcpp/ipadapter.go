//go:build cgo && sdcpp

package sdcpp

// #include "shim.h"
import "C"

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"math"
	"slices"

	"sdworker/convnet"
	"sdworker/convnet/clipvision"
	"sdworker/convnet/ipadapter"
	"sdworker/fault"
	"sdworker/inference"
	"sdworker/inference/footprint"
	"sdworker/internal/fileid"
	"sdworker/models"
	"sdworker/sd1"
)

// imagePrompts keeps what was made of the last pictures. The networks are too large to
// stay beside the checkpoint's for the moment in which they are used.
type imagePrompts struct {
	looks []look
	made  []madePrompt
}

// look is what an encoder sees in a picture.
type look struct {
	encoder           fileid.ID
	picture           [sha256.Size]byte
	hidden, embedding []float32
}

type madePrompt struct {
	adapter, encoder fileid.ID
	picture          [sha256.Size]byte
	prompt           inference.ImagePrompt
}

// How much is kept: the picture of nothing and those of a request's units, and for each
// of these what the adapters make of it.
const (
	maxLooks       = 4
	maxPromptBytes = 64 << 20
)

// ImagePrompt implements inference.ImagePrompter.
func (e *Engine) ImagePrompt(ctx context.Context, in inference.ImagePromptInput) (inference.ImagePrompt, error) {
	const op = "ip-adapter"
	if want := 3 * clipvision.Side * clipvision.Side; len(in.Pixels) != want {
		return inference.ImagePrompt{}, fault.Errorf(fault.Invalid, op, "the picture has %d values, want %d", len(in.Pixels), want)
	}
	adapter, err := e.files.open(in.Adapter, models.IPAdapter)
	if err != nil {
		return inference.ImagePrompt{}, err
	}
	defer adapter.close()
	encoder, err := e.files.open(in.Encoder, models.ImageEncoder)
	if err != nil {
		return inference.ImagePrompt{}, err
	}
	defer encoder.close()
	picture := digest(in.Pixels)
	for i, m := range e.prompts.made {
		if m.adapter == adapter.id && m.encoder == encoder.id && m.picture == picture {
			e.prompts.made = append(slices.Delete(e.prompts.made, i, i+1), m)
			return m.prompt, nil
		}
	}
	prompt, err := e.makePrompt(ctx, op, adapter, encoder, in.Pixels)
	if err != nil {
		return inference.ImagePrompt{}, err
	}
	e.prompts.keep(madePrompt{adapter.id, encoder.id, picture, prompt})
	return prompt, nil
}

func (p *imagePrompts) keep(made madePrompt) {
	p.made = append(p.made, made)
	bytes := 0
	for i, m := range slices.Backward(p.made) {
		if bytes += 4 * (len(m.prompt.Seen) + len(m.prompt.Unseen)); bytes > maxPromptBytes && i < len(p.made)-1 {
			p.made = slices.Delete(p.made, 0, i+1)
			return
		}
	}
}

func digest(pixels []float32) [sha256.Size]byte {
	raw := make([]byte, 0, 4*len(pixels))
	for _, v := range pixels {
		raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(v))
	}
	return sha256.Sum256(raw)
}

// makePrompt runs the encoder and then the adapter.
func (e *Engine) makePrompt(ctx context.Context, op string, adapter, encoder *source, pixels []float32) (prompt inference.ImagePrompt, err error) {
	a, _ := ipadapter.Build(adapter.model.info.Shapes()) // both were looked at when the files were opened
	v, _ := clipvision.Build(encoder.model.info.Shapes())
	if !a.Takes(v.Width, v.Embedding) {
		return prompt, fault.Errorf(fault.Invalid, op, "%s takes pictures of an encoder of width %d, %s has hidden states of %d and an embedding of %d",
			adapter.id.Path, a.Width, encoder.id.Path, v.Width, v.Embedding)
	}
	if err := e.fitsUNet(op, adapter.id.Path, a); err != nil {
		return prompt, err
	}
	pictures := [][]float32{pixels}
	if a.Hidden { // the first kind has zeros in place of the embedding of no picture
		pictures = append(pictures, make([]float32, len(pixels)))
	}
	looks, err := e.look(ctx, op, encoder, v, pictures)
	if err != nil {
		return prompt, err
	}
	inputs, rows := [][]float32{looks[0].embedding, make([]float32, v.Embedding)}, 1
	if a.Hidden {
		inputs, rows = [][]float32{looks[0].hidden, looks[1].hidden}, v.Tokens
	}
	g, err := e.openRoomy(ctx, op, a.Net, adapter, 0)
	if err != nil {
		return prompt, err
	}
	defer g.close(e)
	prompt = inference.ImagePrompt{Tokens: a.Tokens, Channels: a.Channels[:]}
	for i, to := range []*[]float32{&prompt.Seen, &prompt.Unseen} {
		outputs, err := g.run(ctx, e, op, inputs[i], rows, a.Width)
		if err != nil {
			return prompt, err
		}
		*to = slices.Concat(outputs...)
		for _, x := range *to {
			if math.IsNaN(float64(x)) || math.IsInf(float64(x), 0) {
				return prompt, fault.Errorf(fault.Invalid, op, "%s and %s give values that are no finite numbers", adapter.id.Path, encoder.id.Path)
			}
		}
	}
	return prompt, nil
}

// fitsUNet refuses an adapter for a UNet of another width.
func (e *Engine) fitsUNet(op, path string, a *ipadapter.Model) error {
	for i, want := range sd1.CrossAttentions(int64(e.info.Networks.UNetWidth)) {
		if a.Channels[i] != int(want) {
			return fault.Errorf(fault.Invalid, op, "%s is for a UNet whose layer %d has %d channels, the checkpoint's has %d", path, i, a.Channels[i], want)
		}
	}
	return nil
}

// look runs the encoder on pictures that it was not shown before.
func (e *Engine) look(ctx context.Context, op string, encoder *source, v *clipvision.Model, pictures [][]float32) ([]look, error) {
	out := make([]look, len(pictures))
	var g *netGraph
	defer func() { g.close(e) }()
	for i, pixels := range pictures {
		picture := digest(pixels)
		at := slices.IndexFunc(e.prompts.looks, func(l look) bool { return l.encoder == encoder.id && l.picture == picture })
		if at >= 0 {
			out[i] = e.prompts.looks[at]
			e.prompts.looks = append(slices.Delete(e.prompts.looks, at, at+1), out[i])
			continue
		}
		if g == nil {
			opened, err := e.openRoomy(ctx, op, v.Net, encoder, footprint.ImageEncoder)
			if err != nil {
				return nil, err
			}
			g = opened
		}
		outputs, err := g.run(ctx, e, op, pixels, clipvision.Side, clipvision.Side)
		if err != nil {
			return nil, err
		}
		out[i] = look{encoder: encoder.id, picture: picture, hidden: slices.Clone(outputs[0]), embedding: slices.Clone(outputs[1])}
		e.prompts.looks = append(e.prompts.looks, out[i])
		if len(e.prompts.looks) > maxLooks {
			e.prompts.looks = slices.Delete(e.prompts.looks, 0, 1)
		}
	}
	return out, nil
}

// openRoomy opens a network that only the device's memory bounds, with that of its graph.
func (e *Engine) openRoomy(ctx context.Context, op string, net *convnet.Net, src *source, graph int64) (*netGraph, error) {
	if need, room := net.Bytes()+graph, e.info.Room(); room >= 0 && need > room {
		const mib = 1 << 20
		return nil, fault.Errorf(fault.Exhausted, op, "%s takes about %d MiB beside the checkpoint, and there are %d MiB", src.id.Path, need/mib, room/mib)
	}
	e.makeRoom(net.Bytes()+graph, 0, nil)
	return e.openNetOf(ctx, op, net, netPart{src, 1})
}

// imageInputs are the pictures of a call as the native side takes them.
type imageInputs struct {
	tokens          []C.int
	values, regions []float32
}

// imageInputs puts the rows' values together, layer by layer.
func (e *Engine) imageInputs(images []inference.ImageInput) (in imageInputs, err error) {
	channels := sd1.CrossAttentions(int64(e.info.Networks.UNetWidth))
	sum, total := 0, 0
	for _, n := range channels {
		sum += int(n)
	}
	regions := false
	for i, m := range images {
		if want := 2 * m.Tokens * sum; len(m.Values[0]) != want {
			return in, fault.Errorf(fault.Invalid, "ip-adapter", "picture %d has %d values in each row, the checkpoint's UNet takes %d", i, len(m.Values[0]), want)
		}
		total += len(m.Values) * len(m.Values[0])
		regions = regions || m.Region != nil
	}
	in.values = make([]float32, 0, total)
	for _, m := range images {
		in.tokens = append(in.tokens, C.int(m.Tokens))
		at := 0
		for _, n := range channels {
			for range 2 {
				for _, row := range m.Values {
					in.values = append(in.values, row[at:at+m.Tokens*int(n)]...)
				}
				at += m.Tokens * int(n)
			}
		}
	}
	if regions {
		in.regions = regionsOf(images)
	}
	return in, nil
}

// regionsOf joins the maps of all pictures; of one that is seen everywhere they are 1.
func regionsOf(images []inference.ImageInput) (all []float32) {
	cells := 0
	for _, m := range images {
		cells = max(cells, len(m.Region))
	}
	for _, m := range images {
		if m.Region != nil {
			all = append(all, m.Region...)
		} else {
			all = append(all, slices.Repeat([]float32{1}, cells)...)
		}
	}
	return all
}
