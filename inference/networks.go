package inference

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"sdworker/inference/prompt"
)

// activate makes the adapters of a prompt's tags, and no others, act on the
// model. A name that is not known is no error, as in A1111.
func (j *job) activate(ctx context.Context, networks []prompt.Network) error {
	var loras []LoRA
	if !j.req.Settings.DisableExtraNetworks {
		loras = j.resolveLoRAs(networks)
	}
	if slices.Equal(loras, j.model.loras) {
		return nil
	}
	ap, ok := j.model.eng.(LoRAApplier)
	if !ok {
		return Errorf(Invalid, "lora", "this engine cannot apply LoRAs")
	}
	defer j.clock(&j.res.Timings.Load)()
	if err := ap.SetLoRAs(ctx, loras); err != nil {
		j.model.loras = nil
		if restore := ap.SetLoRAs(context.WithoutCancel(ctx), nil); restore != nil {
			return &Error{Code: Broken, Op: "lora", Msg: "a LoRA failed and the weights could not be restored", Err: restore}
		}
		return err
	}
	j.model.loras = loras
	return nil
}

// resolveLoRAs turns tags into files and strengths.
func (j *job) resolveLoRAs(networks []prompt.Network) []LoRA {
	for _, n := range networks {
		if n.Type != "lora" && n.Type != "lyco" {
			j.comment(fmt.Sprintf("Extra networks of type %q are not supported and were left out", n.Type))
		}
	}
	tags, err := prompt.LoRAs(networks)
	if err != nil {
		j.comment("LoRA tags were ignored: " + err.Error())
		return nil
	}
	var (
		loras   []named
		missing []string
	)
	for _, tag := range tags {
		path, ok := j.req.Files.LoRAs[tag.Name]
		if !ok {
			missing = append(missing, tag.Name)
			continue
		}
		if !slices.Contains(j.res.UsedLoRAs, tag.Name) {
			j.res.UsedLoRAs = append(j.res.UsedLoRAs, tag.Name)
		}
		if tag.DynDim != nil {
			j.comment(fmt.Sprintf("LoRA %s: dyn is not supported, the whole rank is used", tag.Name))
		}
		loras = append(loras, named{tag.Name, LoRA{Path: path, UNet: tag.UNet, TextEncoder: tag.TextEncoder}})
	}
	if len(missing) > 0 {
		j.comment("Networks not found: " + strings.Join(missing, ", "))
	}
	return merge(loras)
}

// named is the LoRA of a tag with the name that the tag calls it.
type named struct {
	name string
	LoRA
}

// merge joins tags of the same file. A1111 keeps one object per name and applies
// it once per tag with the strengths of the name's last tag; a file under two
// names is two objects.
func merge(loras []named) []LoRA {
	last := map[string]LoRA{}
	for _, l := range loras {
		last[l.name] = l.LoRA
	}
	var out []LoRA
	for _, tag := range loras {
		l := last[tag.name]
		if i := slices.IndexFunc(out, func(o LoRA) bool { return o.Path == l.Path }); i >= 0 {
			out[i].UNet += l.UNet
			out[i].TextEncoder += l.TextEncoder
			continue
		}
		out = append(out, l)
	}
	return out
}
