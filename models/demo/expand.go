package demo

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"sdworker/sd1"
)

// width says how trained layers lie in those of the file, by the channels of the first
// level.
type width struct{ trained, wide int }

// options reads the widths of the named networks.
func (s *stored) options(networks ...string) (map[string]width, error) {
	out := map[string]width{}
	for _, name := range networks {
		trained, err := strconv.Atoi(s.Metadata(name + ".trained"))
		wide, err2 := strconv.Atoi(s.Metadata(name + ".width"))
		if errors.Join(err, err2) != nil || trained <= 0 || wide%trained != 0 && name == "unet" {
			return nil, fmt.Errorf("demo: %s says nothing good of the width of its %s: %q of %q", s.Name, name, s.Metadata(name+".trained"), s.Metadata(name+".width"))
		}
		out[name] = width{trained, wide}
	}
	return out, nil
}

// expansion puts trained weights into their places in a file. What it does not set
// has the value of a part that does nothing: norms scale by 1, everything else is 0.
type expansion struct {
	*stored
	widths map[string]width // by network
	out    *file
}

// networks expands UNet, ControlNet and autoencoder: all tensors with a dot-separated
// name of a checkpoint. Each has its own name in the file.
func (e *expansion) networks() error {
	for _, name := range e.Names() {
		if strings.HasPrefix(name, "text.") || strings.HasPrefix(name, "latent.") {
			continue
		}
		narrow, err := e.read(name)
		if err != nil {
			return err
		}
		place, ok := e.out.header.Lookup(name)
		if !ok || len(place.Shape) != len(narrow.shape) {
			return fmt.Errorf("demo: %s: there is no place for %s of shape %v", e.Name, name, narrow.shape)
		}
		wide, err := e.widen(name, narrow, place.Shape)
		if err != nil {
			return fmt.Errorf("demo: %s: %s: %w", e.Name, name, err)
		}
		if err := e.out.set(name, wide); err != nil {
			return err
		}
	}
	return nil
}

// widen puts a tensor into one of a wider shape.
func (e *expansion) widen(name string, narrow tensor, shape []int64) (tensor, error) {
	factor := float32(1)
	out, in := unetLayouts(name)
	half, autoencoder := e.half(name)
	switch {
	case autoencoder:
		out = groups(half.trained)
		in = out
	case strings.HasSuffix(name, ".to_q.weight"):
		factor = e.widths["unet"].queries()
	}
	rows, err := out(int(narrow.shape[0]), int(shape[0]))
	if err != nil {
		return tensor{}, err
	}
	if len(shape) == 1 {
		var rest []float32
		if autoencoder && hasConstants(name) {
			rest = constants(rows, int(shape[0]), half.trained)
		}
		return tensor{shape, lay(narrow.values, rows, rest, int(shape[0]))}, nil
	}
	columns, err := in(int(narrow.shape[1]), int(shape[1]))
	if err != nil {
		return tensor{}, err
	}
	return matrix(narrow, rows, columns, shape, factor), nil
}

// half finds the half of the autoencoder that a tensor belongs to.
func (e *expansion) half(name string) (width, bool) {
	for _, half := range []string{"encoder", "decoder"} {
		if strings.HasPrefix(name, sd1.VAEPrefix+half+".") {
			return e.widths[half], true
		}
	}
	return width{}, false
}

// queries is the factor of queries: attention divides by the root of a head's width,
// and heads are wider in the file.
func (w width) queries() float32 { return sqrt32(w.wide / w.trained) }

// adapter widens one matrix of a LoRA. The names of the layers have underscores where
// those of a checkpoint have dots.
func (w width) adapter(name string, narrow tensor) (tensor, error) {
	if len(narrow.shape) == 0 || strings.HasSuffix(name, ".alpha") {
		return narrow, nil
	}
	has := func(part string) bool { return strings.Contains(name, part) }
	k := int64(w.wide / w.trained)
	shape := slices.Clone(narrow.shape)
	out, in, factor := layout(first), layout(first), float32(1)
	switch up := has(".lora_up."); {
	case up:
		shape[0] *= k
		out = spread
		switch {
		case has("_to_q.") || has("_to_k.") || has("_to_v."):
			out = heads
		case has("_ff_net_0_"):
			out = gated
		}
		if has("_to_q.") {
			factor = w.queries()
		}
	case has("_attn2_to_k.") || has("_attn2_to_v."):
		shape[1] = sd1.TextWidth
		in = readStates
	default:
		shape[1] *= k
		switch {
		case has("_to_out_"):
			in = heads
		case !has("_ff_net_2.") && !has("_time_emb_proj."):
			in = spread
		}
	}
	rows, err := out(int(narrow.shape[0]), int(shape[0]))
	if err != nil {
		return tensor{}, err
	}
	columns, err := in(int(narrow.shape[1]), int(shape[1]))
	if err != nil {
		return tensor{}, err
	}
	return matrix(narrow, rows, columns, shape, factor), nil
}

// unetLayouts say where the channels of a layer's output and input lie. Spare channels
// are zeros between the trained ones, so that groups of a GroupNorm keep their channels.
func unetLayouts(name string) (out, in layout) {
	has := func(part string) bool { return strings.Contains(name, part) }
	switch {
	case has("time_embed."):
		return first, first
	case has(".emb_layers."):
		return spread, first
	case has(".attn2.to_k.") || has(".attn2.to_v."):
		return heads, readStates
	case has(".to_q.") || has(".to_k.") || has(".to_v."):
		return heads, spread
	case has(".to_out.") && strings.HasSuffix(name, ".weight"):
		return spread, heads
	case has(".ff.net.0."):
		return gated, spread
	case has(".ff.net.2."):
		return spread, first
	}
	return spread, spread
}

// hasConstants tells the biases of an autoencoder beside which the constant channels
// are. The second convolution of a block is added to a sum that has them already.
func hasConstants(name string) bool {
	for _, end := range []string{"conv_in.bias", ".conv1.bias", ".nin_shortcut.bias", "sample.conv.bias"} {
		if strings.HasSuffix(name, end) {
			return true
		}
	}
	return false
}

// scaleFactor is what a Stable Diffusion pipeline multiplies latents by.
const scaleFactor = 0.18215

// whiten makes the convolutions between autoencoder and latents take latents to mean
// 0 and deviation 1, and back.
func (e *expansion) whiten() error {
	const channels = 4
	mean, err := e.read("latent.mean")
	if err != nil {
		return err
	}
	std, err := e.read("latent.std")
	if err != nil {
		return err
	}
	if len(mean.values) != channels || len(std.values) != channels {
		return fmt.Errorf("demo: %s: latents have %d means and %d deviations", e.Name, len(mean.values), len(std.values))
	}
	quant := tensor{[]int64{2 * channels, 2 * channels, 1, 1}, make([]float32, 4*channels*channels)}
	quantBias := tensor{[]int64{2 * channels}, make([]float32, 2*channels)}
	post := tensor{[]int64{channels, channels, 1, 1}, make([]float32, channels*channels)}
	for i := range channels {
		scale := float64(float64(std.values[i]) * scaleFactor)
		quant.values[i*2*channels+i] = float32(1 / scale)
		quantBias.values[i] = float32(-float64(mean.values[i]) / scale)
		quant.values[(channels+i)*2*channels+channels+i] = 1 // the logarithm of the variance
		quantBias.values[channels+i] = float32(-2 * logarithm(scale))
		post.values[i*channels+i] = float32(scale)
	}
	for name, t := range map[string]tensor{"quant_conv.weight": quant, "quant_conv.bias": quantBias, "post_quant_conv.weight": post, "post_quant_conv.bias": mean} {
		if err := e.out.set(sd1.VAEPrefix+name, t); err != nil {
			return err
		}
	}
	return nil
}

// end fails for a stored tensor that went nowhere.
func (e *expansion) end() error {
	if names := e.Unread(); names != nil {
		return fmt.Errorf("demo: %s: nothing takes %s", e.Name, strings.Join(names, ", "))
	}
	return nil
}
