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
	var names []string
	var loras []LoRA
	if !j.req.Settings.DisableExtraNetworks {
		names, loras = j.resolveLoRAs(networks)
	}
	j.loras, j.bundled = nil, nil
	defer j.clock(&j.res.Timings.Load)()
	reports, files, err := j.eng.SetLoRAs(ctx, loras)
	if err != nil {
		return err
	}
	for i, r := range reports {
		if r.Note != "" {
			j.comment(fmt.Sprintf("LoRA %s: %s", names[i], r.Note))
		}
		j.bundled = append(j.bundled, r.Embeddings...)
	}
	j.loras, j.files = loras, files
	if err := j.activateHypernets(ctx, networks); err != nil {
		return err
	}
	j.texts = j.pipeline.embeddings.get(j.req.Files.Embeddings, j.bundled)
	return j.uses(files...)
}

// resolveLoRAs turns tags into files and strengths, each with the name of its first
// tag.
func (j *job) resolveLoRAs(networks []prompt.Network) (names []string, files []LoRA) {
	for _, n := range networks {
		if n.Type != "lora" && n.Type != "lyco" && n.Type != "hypernet" {
			j.comment(fmt.Sprintf("Extra networks of type %q are not supported and were left out", n.Type))
		}
	}
	tags, err := prompt.LoRAs(networks)
	if err != nil {
		j.comment("LoRA tags were ignored: " + err.Error())
		return nil, nil
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

// extraNets are the networks that a prompt adds to the checkpoint.
type extraNets struct {
	loras     []LoRA
	hypernets []hypernetTag
}

// extraNetsOf are those that a text of a request asks for.
func extraNetsOf(req *Request, text string) (nets extraNets) {
	if req.Settings.DisableExtraNetworks {
		return nets
	}
	_, networks := prompt.ExtractNetworks(text)
	_, nets.loras = (&job{req: req, res: &Result{}}).resolveLoRAs(networks)
	nets.hypernets, _, _ = resolveHypernets(req, networks) // wrong tags are left out and told by the job
	return nets
}

func (n extraNets) equal(other extraNets) bool {
	return slices.Equal(n.loras, other.loras) && slices.Equal(n.hypernets, other.hypernets)
}

// named is the LoRA of a tag with the name that the tag calls it.
type named struct {
	name string
	LoRA
}

// merge joins tags of the same file. A1111 keeps one object for each name and
// applies it once for each of its tags, with the strengths of the last one. A file
// under two names is two objects.
func merge(loras []named) (names []string, out []LoRA) {
	last := map[string]LoRA{}
	for _, l := range loras {
		last[l.name] = l.LoRA
	}
	for _, tag := range loras {
		l := last[tag.name]
		if i := slices.IndexFunc(out, func(o LoRA) bool { return o.Path == l.Path }); i >= 0 {
			out[i].UNet += l.UNet
			out[i].TextEncoder += l.TextEncoder
			continue
		}
		names, out = append(names, tag.name), append(out, l)
	}
	return names, out
}
