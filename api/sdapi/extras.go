package sdapi

import (
	"context"
	"fmt"
	"html"
	"math"
	"net/http"
	"strings"

	"sdworker/api/budget"
	"sdworker/api/infotext"
	"sdworker/api/sdapi/exception"
	"sdworker/api/sdapi/fastapi"
	"sdworker/api/sdapi/generation"
	"sdworker/api/sdapi/picture"
	"sdworker/api/sdapi/pyjson"
	"sdworker/api/sdapi/request"
	"sdworker/api/sdapi/schema"
	"sdworker/fault"
	"sdworker/inference"
	"sdworker/inference/imageio"
)

// extrasSingle handles POST /sdapi/v1/extra-single-image.
func (s *Server) extrasSingle(w http.ResponseWriter, r *http.Request) error {
	place, err := s.cfg.Queue.Reserve(r.Context()) // before the body costs memory
	if err != nil {
		return err
	}
	defer place.Release()
	body, err := fastapi.ReadModel(r, &schema.ExtrasSingle)
	if err != nil {
		return err
	}
	in := &request.Fields{Values: body}
	files, info, err := s.extras(r.Context(), place, in, []any{in.Text("image")})
	if err != nil {
		return err
	}
	if len(files) == 0 {
		return exception.Crash("IndexError", "list index out of range")
	}
	return writeExtras(w, pyjson.NewObject("html_info", info, "image", files[0]))
}

// extrasBatch handles POST /sdapi/v1/extra-batch-images.
func (s *Server) extrasBatch(w http.ResponseWriter, r *http.Request) error {
	place, err := s.cfg.Queue.Reserve(r.Context())
	if err != nil {
		return err
	}
	defer place.Release()
	body, err := fastapi.ReadModel(r, &schema.ExtrasBatch)
	if err != nil {
		return err
	}
	in := &request.Fields{Values: body}
	var images []any
	for _, v := range in.List("imageList") {
		data, _ := v.(*pyjson.Object).Get("data")
		images = append(images, data)
	}
	files, info, err := s.extras(r.Context(), place, in, images)
	if err != nil {
		return err
	}
	return writeExtras(w, pyjson.NewObject("html_info", info, "images", files))
}

func writeExtras(w http.ResponseWriter, reply *pyjson.Object) error {
	body, err := pyjson.Marshal(reply, pyjson.Compact)
	if err != nil {
		return err
	}
	fastapi.WritePlain(w, http.StatusOK, "application/json", body)
	return nil
}

// extras processes pictures in one turn of the queue. info describes the last
// one, as in A1111.
func (s *Server) extras(ctx context.Context, place *inference.Place, in *request.Fields, images []any) (files []any, info string, err error) {
	o := s.Options.Values()
	type source struct {
		pixels imageio.RGB
		texts  []imageio.Text
		text   string
	}
	var sources []source
	decoded, raws, err := s.Reader.All(ctx, images, o)
	if err != nil {
		return nil, "", err
	}
	for i, m := range decoded {
		from := source{pixels: m.RGB(picture.Colour(o.Text("img2img_background_color")))}
		var items []imageio.Item
		from.text, items = infotext.FromFile(raws[i])
		for _, item := range items {
			if text, ok := item.Value.(string); ok && item.Key != "postprocessing" {
				from.texts = append(from.texts, imageio.Text{Key: item.Key, Value: text})
			}
		}
		sources = append(sources, from)
	}
	p, err := s.postprocessing(in)
	if err != nil {
		return nil, "", err
	}
	var model inference.Files
	if p.needsEngine() {
		if _, model, err = s.ChosenFiles(o); err != nil {
			return nil, "", err
		}
	}
	var done []picture.Encodable
	var said string
	err = place.Do(ctx, inference.Job{ID: generation.TaskID("extras"), Name: "extras"},
		func(ctx context.Context, gen inference.Generator, hooks inference.Hooks) error {
			if p.needsEngine() && gen.Status().Engine.Checkpoint == "" {
				if err := gen.Load(ctx, model, hooks); err != nil {
					return err
				}
			}
			for _, from := range sources {
				if hooks.Control.Interrupted() {
					break
				}
				pixels, notes, err := p.apply(ctx, gen, hooks, from.pixels)
				if err != nil {
					return err
				}
				said = strings.Join(notes, ", ")
				made := picture.Encodable{Pixels: pixels, Text: from.text, More: append(from.texts, imageio.Text{Key: "postprocessing", Value: said})}
				s.markExtra(&made)
				done = append(done, made)
			}
			return nil
		})
	if err != nil {
		return nil, "", err
	}
	info = "<p>" + html.EscapeString(said) + "</p>"
	if !in.Flag("show_extras_results", true) {
		return []any{}, info, nil
	}
	encoded, err := picture.EncodeAll(ctx, done, o)
	if err != nil {
		return nil, "", err
	}
	return picture.List(encoded), info, nil
}

// postprocessing is what an extras request asks for.
type postprocessing struct {
	toSize       bool
	factor       any // as it is printed
	scale        float64
	width        int
	height       int
	crop         bool
	first        *inference.UpscaleRequest // nil: no upscaling
	second       *inference.UpscaleRequest
	secondWeight float64
	faces        []string // notes of the face restorers, which have no model
}

func (s *Server) postprocessing(in *request.Fields) (*postprocessing, error) {
	factor, _ := in.Get("upscaling_resize")
	p := &postprocessing{
		toSize: in.Whole("resize_mode") == 1, factor: factor, scale: in.Number("upscaling_resize"),
		width: in.Whole("upscaling_resize_w"), height: in.Whole("upscaling_resize_h"), crop: in.Flag("upscaling_crop", true),
		secondWeight: in.Number("extras_upscaler_2_visibility"),
	}
	if in.Err != nil {
		return nil, in.Err
	}
	if math.IsNaN(p.scale) || math.IsInf(p.scale, 0) {
		return nil, pyjson.ErrNotFinite
	}
	var err error
	if p.first, err = s.Upscaler(in.Text("upscaler_1")); err != nil || p.first == nil {
		return p.withFaces(in), err
	}
	if p.second, err = s.Upscaler(in.Text("upscaler_2")); err != nil {
		return nil, err
	}
	if p.secondWeight <= 0 {
		p.second = nil
	}
	return p.withFaces(in), nil
}

func (p *postprocessing) withFaces(in *request.Fields) *postprocessing {
	if v := in.Number("gfpgan_visibility"); v > 0 {
		p.faces = append(p.faces, "GFPGAN visibility: "+infotext.Quote(rounded(v)))
	}
	if v := in.Number("codeformer_visibility"); v > 0 {
		p.faces = append(p.faces, "CodeFormer visibility: "+infotext.Quote(rounded(v)),
			"CodeFormer weight: "+infotext.Quote(in.Number("codeformer_weight")))
	}
	return p
}

// needsEngine reports whether an upscaler has a model, which the engine of the
// checkpoint in use runs.
func (p *postprocessing) needsEngine() bool {
	return p.first != nil && p.first.Model.Path != "" || p.second != nil && p.second.Model.Path != ""
}

func rounded(v float64) float64 { return math.Round(v*1000) / 1000 }

// apply processes one picture and returns the entries of its text.
func (p *postprocessing) apply(ctx context.Context, gen inference.Generator, hooks inference.Hooks, m imageio.RGB) (imageio.RGB, []string, error) {
	if p.first == nil {
		return m, p.faces, nil
	}
	var notes []string
	scale := p.scale
	if p.toSize {
		scale = max(float64(p.width)/float64(m.W), float64(p.height)/float64(m.H))
		notes = append(notes, fmt.Sprintf("Postprocess upscale to: %dx%d", p.width, p.height))
	} else {
		notes = append(notes, "Postprocess upscale by: "+infotext.Quote(p.factor))
	}
	if side := scale * float64(max(m.W, m.H)); side >= generation.MaxExtrasSide || scale*float64(min(m.W, m.H)) < 8 {
		return m, nil, fault.FieldError("upscaling_resize", "the result would have a side of %d pixels, want 8 to %d", int(side), generation.MaxExtrasSide)
	}
	if err := budget.TakePixels(ctx, int(scale*float64(m.W)), int(scale*float64(m.H))); err != nil {
		return m, nil, err
	}
	run := func(req inference.UpscaleRequest) (imageio.RGB, error) {
		req.Image, req.Scale = m, scale
		out, err := gen.Upscale(ctx, &req, hooks)
		if err == nil && p.toSize && p.crop {
			cropped := imageio.NewRGB(p.width, p.height)
			cropped.Paste(out, p.width/2-out.W/2, p.height/2-out.H/2)
			out = cropped
		}
		return out, err
	}
	out, err := run(*p.first)
	if err != nil {
		return m, nil, err
	}
	if p.toSize && p.crop {
		notes = append(notes, fmt.Sprintf("Postprocess crop to: %dx%d", out.W, out.H))
	}
	notes = append(notes, "Postprocess upscaler: "+infotext.Quote(p.first.Upscaler))
	if p.second != nil {
		other, err := run(*p.second)
		if err != nil {
			return m, nil, err
		}
		mix(out, other, p.secondWeight)
		notes = append(notes, "Postprocess upscaler 2: "+infotext.Quote(p.second.Upscaler))
	}
	return out, append(notes, p.faces...), nil
}

// mix moves m towards other by weight 0..1, cutting fractions as Pillow's blend
// does. Both have the same size.
func mix(m, other imageio.RGB, weight float64) {
	for i, v := range m.Pix {
		m.Pix[i] = uint8(float32(v) + float32(weight)*float32(int(other.Pix[i])-int(v)))
	}
}

// markExtra gives a picture of extras its provenance: one that carries the parameters of
// a generated picture is one.
func (s *Server) markExtra(m *picture.Encodable) {
	switch {
	case s.Config.Provenance != picture.ProvenanceIPTC:
	case m.Text != "":
		m.Mark(picture.Generated)
	default:
		m.Mark(picture.Enhanced)
	}
}
