package main

import (
	"fmt"
	"strings"

	"sdworker/api/webui"
	"sdworker/inference/sampler"
	"sdworker/models"
	"sdworker/models/catalog"
	"sdworker/models/demo"
	"sdworker/sd1"
)

// pageConfig is what the page is told beside the API.
func (s *services) pageConfig() webui.Config {
	return webui.Config{
		Files:   s.pageFiles,
		Choices: s.pageChoices,
		CountTokens: func(p webui.Prompt) webui.Tokens {
			tokens, limit := s.server.CountTokens(p.Text, p.Styles, p.Negative, p.Steps)
			return webui.Tokens{Count: tokens, Limit: limit}
		},
		Parameters: func(text string) (webui.Parameters, error) {
			p, err := s.server.ReadParameters(text)
			if err != nil {
				return webui.Parameters{}, err
			}
			return webui.Parameters{
				Fields: p.Fields, Overrides: p.Overrides, ModelHash: p.ModelHash, Model: p.Model, Control: p.Control, Details: p.Details,
				Extensions: p.Extensions, Masked: p.WithoutMasks, Script: p.Script, ScriptName: p.ScriptName,
			}, nil
		},
	}
}

// pageChoices are what requests may name beyond the lists of the A1111 API.
func (s *services) pageChoices() webui.Choices {
	out := webui.Choices{Samplers: sampler.Names(), Schedulers: sampler.SchedulerLabels()}
	for _, o := range s.server.PictureOptions() {
		out.Options = append(out.Options, webui.Option{Name: o.Name, Value: o.Value, Choices: o.Choices})
	}
	return out
}

// pageFiles are the usable model files with what their headers say.
func (s *services) pageFiles() webui.Files {
	var out webui.Files
	for _, f := range s.catalog.Usable(s.catalog.Checkpoints()) {
		out.Checkpoints = append(out.Checkpoints, described(f, f.Title()))
	}
	for _, f := range s.catalog.Usable(s.catalog.VAEs()) {
		out.VAEs = append(out.VAEs, described(f, f.FileName()))
	}
	for _, l := range s.catalog.LoRAs() {
		if s.catalog.Problem(l.File) == nil {
			out.LoRAs = append(out.LoRAs, described(l.File, l.Stem()))
		}
	}
	for _, e := range s.catalog.Embeddings() {
		if e.Content.Vectors == 0 || e.Content.Shape != sd1.TextWidth {
			continue
		}
		kind := fmt.Sprintf("%d vectors", e.Content.Vectors)
		if e.Content.Vectors == 1 {
			kind = "1 vector"
		}
		out.Embeddings = append(out.Embeddings, webui.File{Name: e.Stem(), Bytes: e.Bytes, Kind: kind})
	}
	return out
}

// described is a file with the words for its kind, of which its header tells.
func described(f catalog.File, name string) webui.File {
	out := webui.File{Name: name, Bytes: f.Bytes}
	info, err := models.Inspect(f.Path)
	if err != nil { // gone since it was listed
		return out
	}
	var kind []string
	switch {
	case info.Demo():
		kind = append(kind, "demo")
	case info.Arch == models.SD1Inpaint:
		kind = append(kind, "inpainting")
	case info.VPrediction:
		kind = append(kind, "v-prediction")
	}
	if info.Kind == models.LoRA {
		training := info.Training()
		if training.Rank > 0 {
			kind = append(kind, fmt.Sprintf("rank %d", training.Rank))
		}
		out.Triggers = triggers(info.Metadata["modelspec.trigger_phrase"], training.Tags)
	}
	out.Kind = strings.Join(append(kind, strings.ToLower(info.DType)), ", ")
	return out
}

// maxTriggers is how many tags of the training are shown.
const maxTriggers = 8

// triggers are the words that call up a LoRA: those that its maker names, else the
// tags that most of its pictures had.
func triggers(named string, tags []models.Tag) []string {
	var words []string
	for word := range strings.SplitSeq(named, ",") {
		if word = strings.TrimSpace(word); word != "" {
			words = append(words, word)
		}
	}
	for _, tag := range tags[:min(len(tags), maxTriggers)] {
		if named == "" {
			words = append(words, tag.Text)
		}
	}
	return words
}

// toys are the listed checkpoints that are the demo model, for the page.
func (s *services) toys() webui.Toys {
	toys := webui.Toys{Prompts: demo.Prompts(), Side: demo.Side, Steps: demo.Steps, Sampler: demo.Sampler}
	for _, f := range s.catalog.Checkpoints() {
		if info, err := models.Inspect(f.Path); err == nil && info.Demo() {
			toys.Titles = append(toys.Titles, f.Title())
		}
	}
	return toys
}
