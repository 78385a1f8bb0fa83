package mcp

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"sdworker/api/a1111"
)

func (s *Server) addTools() {
	no, yes := false, true
	makes := &sdk.ToolAnnotations{DestructiveHint: &no, OpenWorldHint: &no}
	reads := &sdk.ToolAnnotations{ReadOnlyHint: true, OpenWorldHint: &no}
	sdk.AddTool(s.server, &sdk.Tool{Name: "generate_image", Description: "Makes pictures of a text.", Annotations: makes}, s.generate)
	sdk.AddTool(s.server, &sdk.Tool{Name: "edit_image", Description: "Makes a picture from another one and a text: all of it, or where a mask is white.", Annotations: makes}, s.edit)
	sdk.AddTool(s.server, &sdk.Tool{Name: "upscale_image", Description: "Enlarges a picture.", Annotations: makes}, s.upscale)
	sdk.AddTool(s.server, &sdk.Tool{Name: "list_models", Description: "Lists checkpoints, LoRAs, VAEs, embeddings, samplers, schedulers and upscalers by the names that the other tools take.", Annotations: reads}, s.listModels)
	sdk.AddTool(s.server, &sdk.Tool{Name: "get_progress", Description: "Tells what is being made now and what waits.", Annotations: reads}, s.progress)
	sdk.AddTool(s.server, &sdk.Tool{Name: "cancel_job", Description: "Ends a job, waiting or running, without a result.", Annotations: &sdk.ToolAnnotations{DestructiveHint: &yes, IdempotentHint: true, OpenWorldHint: &no}}, s.cancel)
}

// Picture are the parameters that generate_image and edit_image share. What is left
// out has the API's default.
type Picture struct {
	Prompt         string   `json:"prompt" jsonschema:"what the picture shows"`
	NegativePrompt string   `json:"negative_prompt,omitempty" jsonschema:"what it must not show"`
	Steps          int      `json:"steps,omitempty" jsonschema:"sampling steps, 20 to 30 are usual"`
	CFGScale       *float64 `json:"cfg_scale,omitempty" jsonschema:"how closely the prompt is followed, 7 is usual"`
	Seed           *int64   `json:"seed,omitempty" jsonschema:"the same seed gives the same picture; random without"`
	Sampler        string   `json:"sampler,omitempty" jsonschema:"name from list_models"`
	Scheduler      string   `json:"scheduler,omitempty" jsonschema:"name from list_models"`
	Model          string   `json:"model,omitempty" jsonschema:"checkpoint from list_models; the loaded one without"`
	Count          int      `json:"count,omitempty" jsonschema:"how many pictures, 1 without"`
	Format         string   `json:"format,omitempty" jsonschema:"jpg (default), png without loss, or webp"`
}

// GenerateInput is what generate_image takes.
type GenerateInput struct {
	Picture
	Width  int `json:"width,omitempty" jsonschema:"pixels, 512 without"`
	Height int `json:"height,omitempty" jsonschema:"pixels, 512 without"`
}

// EditInput is what edit_image takes.
type EditInput struct {
	Picture
	Image    string   `json:"image" jsonschema:"the picture to change: base64 or a data URL"`
	Mask     string   `json:"mask,omitempty" jsonschema:"white where the picture is to change: base64 or a data URL; all of it without"`
	Strength *float64 `json:"strength,omitempty" jsonschema:"how much changes, 0 nothing to 1 everything; 0.75 without"`
	Width    int      `json:"width,omitempty" jsonschema:"pixels, those of the picture without"`
	Height   int      `json:"height,omitempty" jsonschema:"pixels, those of the picture without"`
}

// UpscaleInput is what upscale_image takes.
type UpscaleInput struct {
	Image    string  `json:"image" jsonschema:"the picture to enlarge: base64 or a data URL"`
	Scale    float64 `json:"scale,omitempty" jsonschema:"factor, 2 without"`
	Upscaler string  `json:"upscaler,omitempty" jsonschema:"name from list_models; Lanczos without"`
	Format   string  `json:"format,omitempty" jsonschema:"jpg (default), png without loss, or webp"`
}

// Made is what the tools tell beside their pictures.
type Made struct {
	Job        string   `json:"job,omitempty" jsonschema:"id of the job"`
	Seeds      []int64  `json:"seeds,omitempty" jsonschema:"of each picture"`
	Parameters []string `json:"parameters,omitempty" jsonschema:"what each picture was made with"`
	Notes      []string `json:"notes,omitempty" jsonschema:"what was ignored or replaced"`
}

// fields are the A1111 request for a picture.
func (p *Picture) fields() (map[string]any, error) {
	f := map[string]any{"prompt": p.Prompt, "negative_prompt": p.NegativePrompt}
	options := make(map[string]any)
	set := func(name string, v any, given bool) {
		if given {
			f[name] = v
		}
	}
	set("steps", p.Steps, p.Steps != 0)
	set("cfg_scale", p.CFGScale, p.CFGScale != nil)
	set("seed", p.Seed, p.Seed != nil)
	set("sampler_name", p.Sampler, p.Sampler != "")
	set("scheduler", p.Scheduler, p.Scheduler != "")
	set("n_iter", p.Count, p.Count != 0)
	if p.Model != "" {
		options["sd_model_checkpoint"] = p.Model
	}
	if err := setFormat(options, p.Format); err != nil {
		return nil, err
	}
	f["override_settings"] = options
	return f, nil
}

// defaultFormat is small: clients bound what one message may have, the Python one at
// a MiB.
const defaultFormat = "jpg"

// mimeTypes are those of the formats of pictures.
var mimeTypes = map[string]string{"": "image/jpeg", "png": "image/png", "jpg": "image/jpeg", "jpeg": "image/jpeg", "webp": "image/webp"}

func setFormat(options map[string]any, format string) error {
	if _, ok := mimeTypes[format]; !ok {
		return fmt.Errorf("format is %q, want png, jpg or webp", format)
	}
	options["samples_format"] = cmp.Or(format, defaultFormat)
	return nil
}

func (s *Server) generate(ctx context.Context, req *sdk.CallToolRequest, in GenerateInput) (*sdk.CallToolResult, *Made, error) {
	f, err := in.fields()
	if err != nil {
		return nil, nil, err
	}
	setSize(f, in.Width, in.Height)
	return s.make(ctx, req, a1111.Txt2Img, f, in.Format)
}

func setSize(f map[string]any, width, height int) {
	if width != 0 {
		f["width"] = width
	}
	if height != 0 {
		f["height"] = height
	}
}

func (s *Server) edit(ctx context.Context, req *sdk.CallToolRequest, in EditInput) (*sdk.CallToolResult, *Made, error) {
	f, err := in.fields()
	if err != nil {
		return nil, nil, err
	}
	raw, w, h, err := decode("image", in.Image)
	if err != nil {
		return nil, nil, err
	}
	f["init_images"] = []string{raw}
	setSize(f, w, h)
	setSize(f, in.Width, in.Height)
	if in.Mask != "" {
		if f["mask"], _, _, err = decode("mask", in.Mask); err != nil {
			return nil, nil, err
		}
		f["inpainting_fill"] = 1      // begin with what is there
		f["inpaint_full_res"] = false // the prompt describes the whole picture
	}
	if in.Strength != nil {
		f["denoising_strength"] = *in.Strength
	}
	return s.make(ctx, req, a1111.Img2Img, f, in.Format)
}

func (s *Server) upscale(ctx context.Context, req *sdk.CallToolRequest, in UpscaleInput) (*sdk.CallToolResult, *Made, error) {
	raw, _, _, err := decode("image", in.Image)
	if err != nil {
		return nil, nil, err
	}
	f := map[string]any{"image": raw, "upscaling_resize": 2.0, "upscaler_1": "Lanczos"}
	if in.Scale != 0 {
		f["upscaling_resize"] = in.Scale
	}
	if in.Upscaler != "" {
		f["upscaler_1"] = in.Upscaler
	}
	if _, ok := mimeTypes[in.Format]; !ok {
		return nil, nil, fmt.Errorf("format is %q, want png, jpg or webp", in.Format)
	}
	var reply struct {
		Image []byte `json:"image"`
	}
	if err := s.call(ctx, req, a1111.ExtraSingleImage, f, &reply); err != nil {
		return nil, nil, err
	}
	image, mime, err := convert(reply.Image, in.Format)
	if err != nil {
		return nil, nil, err
	}
	return &sdk.CallToolResult{Content: []sdk.Content{&sdk.ImageContent{Data: image, MIMEType: mime}}}, &Made{}, nil
}

// make runs a generation request.
func (s *Server) make(ctx context.Context, req *sdk.CallToolRequest, route string, f map[string]any, format string) (*sdk.CallToolResult, *Made, error) {
	id := newID()
	f["force_task_id"] = id
	var reply struct {
		Images [][]byte
		Info   string
	}
	if err := s.call(ctx, req, route, f, &reply); err != nil {
		return nil, nil, err
	}
	var info struct {
		Seeds     []int64  `json:"all_seeds"`
		Infotexts []string `json:"infotexts"`
		Notes     []string `json:"notes"`
	}
	if err := json.Unmarshal([]byte(reply.Info), &info); err != nil {
		return nil, nil, err
	}
	made := &Made{Job: id, Seeds: info.Seeds, Parameters: info.Infotexts, Notes: info.Notes}
	out := &sdk.CallToolResult{}
	for _, data := range reply.Images {
		out.Content = append(out.Content, &sdk.ImageContent{Data: data, MIMEType: mimeTypes[format]})
	}
	text, err := json.Marshal(made)
	if err != nil {
		return nil, nil, err
	}
	out.Content = append(out.Content, &sdk.TextContent{Text: string(text)}) // for clients that read no structured content
	return out, made, nil
}

// Models are the names that the tools take.
type Models struct {
	Checkpoints []string `json:"checkpoints"`
	LoRAs       []string `json:"loras"`
	VAEs        []string `json:"vaes"`
	Embeddings  []string `json:"embeddings"`
	Samplers    []string `json:"samplers"`
	Schedulers  []string `json:"schedulers"`
	Upscalers   []string `json:"upscalers"`
}

func (s *Server) listModels(ctx context.Context, _ *sdk.CallToolRequest, _ struct{}) (*sdk.CallToolResult, *Models, error) {
	m := &Models{Embeddings: []string{}}
	for _, list := range []struct {
		route, key string
		to         *[]string
	}{
		{"sd-models", "title", &m.Checkpoints},
		{"loras", "name", &m.LoRAs},
		{"sd-vae", "model_name", &m.VAEs},
		{"samplers", "name", &m.Samplers},
		{"schedulers", "label", &m.Schedulers},
		{"upscalers", "name", &m.Upscalers},
	} {
		var rows []map[string]any
		if err := s.get(ctx, list.route, &rows); err != nil {
			return nil, nil, err
		}
		*list.to = []string{}
		for _, row := range rows {
			name, _ := row[list.key].(string)
			*list.to = append(*list.to, name)
		}
	}
	var embeddings struct {
		Loaded map[string]any `json:"loaded"`
	}
	if err := s.get(ctx, "embeddings", &embeddings); err != nil {
		return nil, nil, err
	}
	m.Embeddings = append(m.Embeddings, sortedKeys(embeddings.Loaded)...)
	return nil, m, nil
}

func (s *Server) get(ctx context.Context, route string, out any) error {
	reply := s.cfg.API.Get(ctx, a1111.Prefix+route)
	if reply.Status != http.StatusOK {
		return reply.Fault()
	}
	return json.Unmarshal(reply.Body, out)
}

// State is what get_progress tells.
type State struct {
	Running bool     `json:"running"`
	Job     string   `json:"job,omitempty" jsonschema:"id of the job that runs"`
	Kind    string   `json:"kind,omitempty"`
	Phase   string   `json:"phase,omitempty"`
	Percent float64  `json:"percent,omitempty"`
	Step    int      `json:"step,omitempty"`
	Steps   int      `json:"steps,omitempty"`
	Waiting []string `json:"waiting" jsonschema:"ids of the jobs that wait"`
}

func (s *Server) progress(_ context.Context, _ *sdk.CallToolRequest, _ struct{}) (*sdk.CallToolResult, *State, error) {
	out := &State{Waiting: append([]string{}, s.cfg.Queue.Waiting()...)}
	if j, ok := s.cfg.Queue.Running(); ok {
		out.Running, out.Job, out.Kind = true, j.ID, j.Name
		out.Phase, out.Percent = string(j.Progress.Phase), percent(j.Progress.Fraction())
		out.Step, out.Steps = j.Progress.Step, j.Progress.Steps
	}
	return nil, out, nil
}

// CancelInput is what cancel_job takes.
type CancelInput struct {
	Job string `json:"job" jsonschema:"id from get_progress"`
}

// Ended is what cancel_job tells.
type Ended struct {
	Canceled bool `json:"canceled"`
}

var errCanceled = errors.New("canceled by a client")

func (s *Server) cancel(_ context.Context, _ *sdk.CallToolRequest, in CancelInput) (*sdk.CallToolResult, *Ended, error) {
	if strings.TrimSpace(in.Job) == "" || !s.cfg.Queue.Cancel(in.Job, errCanceled) {
		return nil, nil, fmt.Errorf("there is no job %q that waits or runs", in.Job)
	}
	return nil, &Ended{Canceled: true}, nil
}
