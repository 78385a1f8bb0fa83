package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"sdworker/api/a1111"
	"sdworker/api/sdapi/schema"
	"sdworker/internal/cli"
)

// readFrom returns the parameters text of the picture that --from names, "" without it.
func (g *generateCommand) readFrom() (string, error) {
	if g.output.From == "" {
		return "", nil
	}
	f, err := readPictureFile(g.output.From)
	if err != nil {
		return "", err
	}
	if f.Parameters == "" {
		return "", fmt.Errorf("%s carries no parameters, so that there is nothing to reuse", printable(g.output.From))
	}
	return f.Parameters, nil
}

// reuse fills what the flags leave open with the parameters of another picture. notes
// are sentences about what could not be taken over.
func (r *apiRequest) reuse(text string, s *services, c *cli.Call) (notes []string, err error) {
	p, err := s.server.ReadParameters(text)
	if err != nil {
		return nil, fmt.Errorf("the parameters of the picture cannot be used: %w", err)
	}
	route := schema.Txt2Img
	if r.path == a1111.Img2Img {
		route = schema.Img2Img
	}
	_, strength := p.Fields["denoising_strength"]
	if hires, _ := p.Fields["enable_hr"].(bool); strength && !hires && r.path == a1111.Txt2Img {
		delete(p.Fields, "denoising_strength")
		notes = append(notes, "the picture was made from another one, which its file does not hold; name it with --init-image")
	}
	for _, name := range slices.Sorted(maps.Keys(p.Unknown)) {
		if _, given := r.body[name]; !given {
			notes = append(notes, p.Unknown[name])
		}
	}
	for name, value := range p.Fields {
		_, given := r.body[name]
		known := slices.ContainsFunc(route.Fields, func(f schema.Field) bool { return f.Name == name })
		if known && !given && value != nil {
			r.body[name] = value
		}
	}
	override := r.body["override_settings"].(map[string]any)
	for name, value := range p.Overrides {
		if _, given := override[name]; !given {
			override[name] = value
		}
	}
	if _, given := c.Given["MODEL"]; !given && p.ModelHash+p.Model != "" {
		if title, ok := s.checkpointOf(p.ModelHash, p.Model); ok {
			override["sd_model_checkpoint"] = title
		} else {
			notes = append(notes, fmt.Sprintf("the picture's checkpoint %s is not here; another one is used", printable(strings.TrimSpace(p.Model+" "+p.ModelHash))))
		}
	}
	if _, given := r.body["alwayson_scripts"]; !given {
		r.body["alwayson_scripts"] = p.AlwaysOn(r.path == a1111.Img2Img)
	}
	if len(p.Control) > 0 {
		notes = append(notes, "the pictures of ControlNet are not in the file; it is left out")
	}
	for _, name := range p.WithoutMasks {
		notes = append(notes, "the masks of "+name+" are not in the file; it is left out")
	}
	if p.ScriptName != "" {
		notes = append(notes, "the script "+p.ScriptName+" is left out")
	}
	return notes, nil
}

// checkpointOf finds a checkpoint by the hash or, where that was never computed, by the
// name that a text has.
func (s *services) checkpointOf(hash, name string) (title string, ok bool) {
	for _, f := range s.catalog.Checkpoints() {
		if hash != "" && f.ShortHash() == hash || (hash == "" || f.ShortHash() == "") && f.Stem() == name {
			return f.Title(), true
		}
	}
	return "", false
}
