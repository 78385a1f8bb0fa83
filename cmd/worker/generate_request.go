package main

import (
	"encoding/base64"
	"fmt"
	"io"
	"os"
	"reflect"
	"strings"

	"sdworker/api/a1111"
	"sdworker/internal/cli"
	"sdworker/models/demo"
)

// apiNames are the flags whose API field is named differently.
var apiNames = map[string]string{"SAMPLER": "sampler_name", "CLIP_SKIP": clipSkipOption}

const (
	clipSkipOption  = "CLIP_stop_at_last_layers"
	stepCacheOption = "step_cache"
)

// optionFlags are the options among the flags, which are no fields of requests.
var optionFlags = []string{clipSkipOption, stepCacheOption}

// apiRequest is a body for one of the two generation routes.
type apiRequest struct {
	path string
	body map[string]any
}

// newAPIRequest turns the flags that were given into a request. A field that was
// not given is left out, so that the API's default holds.
func (p *program) newAPIRequest(c *cli.Call, picture *pictureFields, hires *hiresFields, init *initFields, format string) (*apiRequest, error) {
	req := &apiRequest{path: a1111.Txt2Img, body: map[string]any{}}
	for _, target := range []any{picture, hires, init} {
		s := cli.Settings{Target: target}
		values := reflect.ValueOf(target).Elem()
		for i, f := range s.Fields() {
			if _, given := c.Given[f.Variable]; given {
				req.body[apiName(f.Variable)] = values.Field(i).Interface()
			}
		}
	}
	override := map[string]any{"samples_format": format}
	for _, option := range optionFlags {
		if value, given := req.body[option]; given {
			override[option] = value
			delete(req.body, option)
		}
	}
	req.body["override_settings"] = override
	if init.InitImage == "" {
		if init.Mask != "" {
			return nil, cli.Usagef("--mask needs --init-image")
		}
		return req, nil
	}

	req.path = a1111.Img2Img
	picture64, err := p.readPicture(init.InitImage)
	if err != nil {
		return nil, err
	}
	delete(req.body, "init_image")
	req.body["init_images"] = []string{picture64}
	if init.Mask != "" {
		if req.body["mask"], err = p.readPicture(init.Mask); err != nil {
			return nil, err
		}
	}
	return req, nil
}

func apiName(variable string) string {
	if name, ok := apiNames[variable]; ok {
		return name
	}
	return strings.ToLower(variable)
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
	for field, value := range map[string]int{"width": demo.Side, "height": demo.Side, "steps": demo.Steps} {
		if _, given := r.body[field]; !given {
			r.body[field] = value
		}
	}
}
