package models

import (
	"cmp"
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"sdworker/models/adapter"
)

// Training is what a LoRA tells about how it was made.
type Training struct {
	Rank       int64   // of most layers, 0 when unknown
	Alpha      float64 // scale is Alpha/Rank; 0 when unknown
	Module     string  // "networks.lora"
	BaseModel  string  // what it was trained on
	Resolution string  // "512,512"
	Images     string  // number of training pictures
	Epochs     string
	TextPart   bool  // it changes the text encoder
	UNetPart   bool  // it changes the UNet
	Tags       []Tag // the most frequent first, at most 20
}

// Tag is a caption that the training pictures had.
type Tag struct {
	Text  string
	Count int
}

// maxTags bounds Training.Tags.
const maxTags = 20

// Training reads the hints of a LoRA from its header.
func (i *Info) Training() Training {
	m := i.Metadata
	t := Training{
		Module: m["ss_network_module"], Resolution: m["ss_resolution"], Images: m["ss_num_train_images"], Epochs: m["ss_num_epochs"],
		BaseModel: cmp.Or(m["ss_sd_model_name"], m["modelspec.title"], m["ss_base_model_version"]),
	}
	ranks := map[int64]int{}
	for _, x := range i.Tensors {
		if !adapter.Recognize(x.Name) {
			continue
		}
		if strings.Contains(x.Name, "lora_te") || strings.Contains(x.Name, "text_encoder") || strings.Contains(x.Name, "text_model") {
			t.TextPart = true
		} else {
			t.UNetPart = true
		}
		if _, ok := inputWidth(x); ok {
			ranks[x.Shape[0]]++
		}
	}
	for rank, n := range ranks {
		if best := ranks[t.Rank]; n > best || n == best && rank > t.Rank {
			t.Rank = rank
		}
	}
	if dim, err := strconv.ParseInt(m["ss_network_dim"], 10, 32); err == nil {
		t.Rank = dim
	}
	t.Alpha, _ = strconv.ParseFloat(m["ss_network_alpha"], 64) // absent or "Dynamic": unknown
	t.Tags = topTags(m["ss_tag_frequency"])
	return t
}

// topTags adds the counts of all training folders up.
func topTags(text string) []Tag {
	var folders map[string]map[string]int
	if json.Unmarshal([]byte(text), &folders) != nil {
		return nil
	}
	counts := map[string]int{}
	for _, tags := range folders {
		for tag, n := range tags {
			counts[strings.TrimSpace(tag)] += n
		}
	}
	var list []Tag
	for tag, n := range counts {
		list = append(list, Tag{tag, n})
	}
	slices.SortFunc(list, func(a, b Tag) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), strings.Compare(a.Text, b.Text))
	})
	return list[:min(maxTags, len(list))]
}

// Synthetic tells a file that was written by package synth: random weights.
func (i *Info) Synthetic() bool { return i.Metadata["sdworker.synthetic"] != "" }

// Demo tells a file of the demo model, which package demo writes.
func (i *Info) Demo() bool { return i.Metadata["sdworker.demo"] != "" }

// Component is one network inside a checkpoint.
type Component struct {
	Name    string // "unet", "text encoder", "vae", "other"
	Tensors int
	Values  int64
}

// Components sums a checkpoint up by network; those that are missing do not
// appear.
func (i *Info) Components() []Component {
	type part struct {
		name     string
		prefixes []string
	}
	parts := []part{
		{"unet", []string{"model.diffusion_model.", "unet."}},
		{"text encoder", []string{"cond_stage_model.", "text_encoder.", "te."}},
		{"vae", []string{"first_stage_model.", "vae."}},
		{"ema copy", []string{"model_ema."}},
		{"other", []string{""}},
	}
	sums := make([]Component, len(parts))
	for _, t := range i.Tensors {
		at := slices.IndexFunc(parts, func(p part) bool {
			return slices.ContainsFunc(p.prefixes, func(s string) bool { return strings.HasPrefix(t.Name, s) })
		})
		sums[at].Name = parts[at].name
		sums[at].Tensors++
		sums[at].Values += t.Values()
	}
	return slices.DeleteFunc(sums, func(c Component) bool { return c.Tensors == 0 })
}
