package main

import (
	"encoding/base64"
	"fmt"
	"io"
	"os"
	"strings"

	"sdworker/api/a1111"
	"sdworker/internal/cli"
	"sdworker/models/demo"
)

// apiRequest is a body for one of the two generation routes.
type apiRequest struct {
	path string
	body map[string]any
}

// newAPIRequest turns the flags that were given into a request. A field that was
// not given is left out, so that the API's default holds.
func (g *generateCommand) newAPIRequest(c *cli.Call) (*apiRequest, error) {
	req := &apiRequest{path: a1111.Txt2Img, body: map[string]any{}}
	override := map[string]any{"samples_format": g.output.format()}
	for _, group := range []requestFlags{g.picture, g.hires, g.init} {
		for _, f := range group.list {
			if _, given := c.Given[f.variable]; !given || f.kind == asFile || f.kind == asScript {
				continue
			}
			if f.kind == asOption {
				override[f.field.Name] = group.value(f.variable)
			} else {
				req.body[f.field.Name] = group.value(f.variable)
			}
		}
	}
	req.body["override_settings"] = override
	scripts := map[string]any{}
	if list := g.picture.text(detailer.variable); list != "" {
		scripts["ADetailer"] = map[string]any{"args": g.detailUnits(list)}
	}
	if soft, _ := g.init.value(softly.variable).(bool); soft {
		if g.init.text(mask.variable) == "" {
			return nil, cli.Usagef("--soft-inpainting needs --mask")
		}
		scripts[softly.field.Name] = map[string]any{"args": []any{true}}
	}
	if len(scripts) > 0 {
		req.body["alwayson_scripts"] = scripts
	}
	image, cover := g.init.text(initImage.variable), g.init.text(mask.variable)
	if image == "" {
		if cover != "" {
			return nil, cli.Usagef("--mask needs --init-image")
		}
		return req, nil
	}

	req.path = a1111.Img2Img
	picture, err := g.program.readPicture(image)
	if err != nil {
		return nil, err
	}
	req.body[initImage.field.Name] = []string{picture}
	if cover != "" {
		if req.body[mask.field.Name], err = g.program.readPicture(cover); err != nil {
			return nil, err
		}
	}
	return req, nil
}

// detailUnits are units of ADetailer, one for each model of a list.
func (g *generateCommand) detailUnits(list string) []any {
	var units []any
	for name := range strings.SplitSeq(list, ",") {
		unit := map[string]any{detailer.field.Name: strings.TrimSpace(name)}
		if text := g.picture.text(detailed.variable); text != "" {
			unit[detailed.field.Name] = text
		}
		units = append(units, unit)
	}
	return units
}

// maxPicture bounds a picture file that is read.
const maxPicture = 512 << 20

// readPicture returns a file in base64.
func (p *program) readPicture(path string) (string, error) {
	in := p.In
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return "", fmt.Errorf("read the picture: %w", err)
		}
		defer f.Close()
		in = f
	}
	data, err := io.ReadAll(io.LimitReader(in, maxPicture+1))
	if err != nil {
		return "", fmt.Errorf("read the picture %s: %w", path, err)
	}
	if len(data) > maxPicture {
		return "", fmt.Errorf("the picture %s is larger than %d MiB", path, maxPicture>>20)
	}
	return base64.StdEncoding.EncodeToString(data), nil
}

// suitDemo fills in what the demo model draws best and fastest where nothing was
// asked for.
func (r *apiRequest) suitDemo() {
	for field, value := range map[string]any{"width": demo.Side, "height": demo.Side, "steps": demo.Steps, "sampler_name": demo.Sampler} {
		if _, given := r.body[field]; !given {
			r.body[field] = value
		}
	}
}
