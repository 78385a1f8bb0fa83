package generation

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"sdworker/api/sdapi/exception"
	"sdworker/api/sdapi/pyjson"
	"sdworker/api/sdapi/request"
	"sdworker/api/sdapi/schema"
	"sdworker/convnet/depth"
	"sdworker/fault"
	"sdworker/inference"
	"sdworker/inference/hint"
	"sdworker/inference/imageio"
	"sdworker/models"
	"sdworker/models/catalog"
)

// ControlUnits is how many units a request may have: the extension's default of
// three pages, which is no limit for the API.
const ControlUnits = 3

// controlUnit is one unit of ControlNet (Mikubill v1.1.455). Keys that it does
// not know are ignored, values of a wrong type have their default.
var controlUnit = &schema.Model{Name: "ControlNetUnit", Fields: []schema.Field{
	{Name: "enabled", Kind: schema.Boolean, Default: false},
	{Name: "module", Kind: schema.String, Default: "none"},
	{Name: "model", Kind: schema.String, Default: "None"},
	{Name: "weight", Kind: schema.Number, Default: 1.0},
	{Name: "image", Kind: schema.Any},
	{Name: "mask", Kind: schema.Any},
	{Name: "mask_image", Kind: schema.Any},
	{Name: "resize_mode", Kind: schema.Any, Default: "Crop and Resize"},
	{Name: "low_vram", Kind: schema.Boolean, Default: false},
	{Name: "processor_res", Kind: schema.Integer, Default: int64(-1)},
	{Name: "threshold_a", Kind: schema.Number, Default: int64(-1)},
	{Name: "threshold_b", Kind: schema.Number, Default: int64(-1)},
	{Name: "guidance_start", Kind: schema.Number, Default: int64(0)},
	{Name: "guidance_end", Kind: schema.Number, Default: int64(1)},
	{Name: "pixel_perfect", Kind: schema.Boolean, Default: false},
	{Name: "control_mode", Kind: schema.Any, Default: "Balanced"},
	{Name: "inpaint_crop_input_image", Kind: schema.Boolean, Default: true},
	{Name: "hr_option", Kind: schema.Any, Default: "Both"},
	{Name: "save_detected_map", Kind: schema.Boolean, Default: true},
	{Name: "advanced_weighting", Kind: schema.Any},
	{Name: "effective_region_mask", Kind: schema.Any},
	{Name: "pulid_mode", Kind: schema.Any},
	{Name: "union_control_type", Kind: schema.Any},
	{Name: "ipadapter_input", Kind: schema.Any},
}}

// controlAliases are older names of unit fields.
var controlAliases = map[string]string{"guidance": "guidance_end", "lowvram": "low_vram", "input_image": "image"}

// readUnit reads one element of the args.
func readUnit(v any) (*request.Fields, bool) {
	sent, ok := v.(*pyjson.Object)
	if !ok {
		return nil, false
	}
	plain := pyjson.NewObject()
	for key, value := range sent.All() {
		if name, old := controlAliases[key]; old {
			if _, both := sent.Get(name); both {
				continue
			}
			key = name
		}
		plain.Set(key, value)
	}
	// A unit is not validated as the request is: what cannot be read is left out.
	for _, f := range controlUnit.Fields {
		if value, given := plain.Get(f.Name); given {
			if _, errs := f.Coerce(value); len(errs) > 0 {
				plain.Delete(f.Name)
			}
		}
	}
	read, err := controlUnit.Read(plain)
	if err != nil {
		return nil, false
	}
	return &request.Fields{Values: read}, true
}

// buildControl adds the ControlNet units that are switched on. A unit that names
// neither model nor module does nothing, like the empty ones that some clients
// always send.
func (c *Call) buildControl(ctx context.Context) error {
	if c.origin != nil {
		c.Req.Control = c.origin.Req.Control
		return nil
	}
	positional := 0
	for i, v := range c.control {
		unit, ok := readUnit(v)
		if !ok {
			if v != nil {
				positional++
			}
			continue
		}
		if !unitOn(unit) {
			if named(unit.Text("model")) {
				c.Note("ControlNet unit %d is not enabled and did nothing", i)
			}
			continue
		}
		built, err := c.controlUnit(ctx, i, unit)
		if err != nil {
			return err
		}
		c.Req.Control = append(c.Req.Control, built)
		c.units = append(c.units, unit)
	}
	if positional > 0 {
		c.Note("%d of the %d args of ControlNet are no objects and did nothing: give each unit as one object", positional, len(c.control))
	}
	return nil
}

// unitOn reports whether a unit has an effect: it must name a model or a
// preprocessor, and be enabled. A unit without the field enabled counts as
// enabled if it names a model, because earlier versions of the extension
// enabled such units.
func unitOn(unit *request.Fields) bool {
	if !unit.Given("enabled") {
		return named(unit.Text("model"))
	}
	return unit.Flag("enabled", false) && (named(unit.Text("model")) || named(unit.Text("module")))
}

func named(s string) bool { return s != "" && !strings.EqualFold(s, "none") }

func (c *Call) controlUnit(ctx context.Context, i int, unit *request.Fields) (inference.ControlUnit, error) {
	name := unit.Text("model")
	model, ok := c.Service.Config.Catalog.ControlNet(name)
	if !ok {
		return inference.ControlUnit{}, exception.Crash("RuntimeError", "model %s not found", pyjson.Quoted(name))
	}
	module, known := hint.Lookup(unit.Text("module"))
	if !known {
		return inference.ControlUnit{}, exception.Refuse(http.StatusUnprocessableEntity, "%s", unknownModule(unit.Text("module")))
	}
	encoder, err := c.imageEncoder(i, model, module)
	if err != nil {
		return inference.ControlUnit{}, err
	}
	if v, _ := unit.Get("ipadapter_input"); v != nil && v != "" {
		return inference.ControlUnit{}, exception.Refuse(http.StatusUnprocessableEntity, "ControlNet unit %d: ipadapter_input is what the extension's preprocessor makes, "+
			"as pickled Python objects, which are not read here: send the pictures themselves as image", i)
	}
	network, err := c.Service.NetworkOf(module)
	if err != nil {
		return inference.ControlUnit{}, err
	}
	if module.Name == "inpaint_only" && c.Req.Init != nil && c.Req.Init.Mask != nil {
		module, _ = hint.Lookup("inpaint") // as in the extension: the job's own mask keeps the rest
	}
	out := inference.ControlUnit{
		Model:        model.Path,
		Encoder:      encoder,
		Network:      network,
		Module:       module.Name,
		Weight:       unit.Number("weight"),
		ResizeMode:   choice(unit, "resize_mode", []string{"Just Resize", "Crop and Resize", "Resize and Fill"}, oldResizeModes, 1),
		CropToMask:   unit.Flag("inpaint_crop_input_image", true) || c.tiled(),
		Start:        unit.Number("guidance_start"),
		End:          unit.Number("guidance_end"),
		Mode:         inference.ControlMode(choice(unit, "control_mode", []string{"Balanced", "My prompt is more important", "ControlNet is more important"}, nil, 0)),
		PixelPerfect: unit.Flag("pixel_perfect", false),
		Resolution:   unit.Whole("processor_res"),
		ThresholdA:   unit.Number("threshold_a"),
		ThresholdB:   unit.Number("threshold_b"),
		ReturnMap:    unit.Flag("save_detected_map", true),
	}
	pass := choice(unit, "hr_option", []string{"Both", "Low res only", "High res only"}, nil, 0)
	out.LowRes, out.HighRes = pass != 2, pass != 1
	if err := c.unitPicture(ctx, i, unit, module, &out); err != nil {
		return out, err
	}
	if out.LayerWeights, err = layerWeights(i, unit, out.Layers()); err != nil {
		return out, err
	}
	if encoder != "" && pass != 0 {
		c.Note("ControlNet unit %d is an IP-Adapter, which acts in both passes whatever its hr_option, as in the extension", i)
	}
	if region, _ := unit.Get("effective_region_mask"); region != nil && region != "" {
		picture, _, err := c.Service.Reader.One(ctx, region, c.Options)
		if err != nil {
			return out, err
		}
		mask := FirstChannel(picture.DropAlpha())
		out.Region = &mask
	}
	showBounds(unit, module)
	return out, unit.Err
}

// imageEncoder returns the file of the image encoder for the unit of an IP-Adapter, "" for
// a ControlNet. It refuses a preprocessor that does not belong to the kind of model.
func (c *Call) imageEncoder(i int, model catalog.File, module hint.Module) (string, error) {
	refused := func(format string, args ...any) (string, error) {
		return "", exception.Refuse(http.StatusUnprocessableEntity, "ControlNet unit %d: "+format, append([]any{i}, args...)...)
	}
	switch adapter := model.Kind == models.IPAdapter; {
	case !adapter && !module.Vision:
		return "", nil
	case !adapter:
		return refused("module %s is for IP-Adapters, and %s is a ControlNet", module.Name, model.FileName())
	case !module.Vision:
		return refused("%s is an IP-Adapter, which needs module ip-adapter_clip_sd15, not %s", model.FileName(), module.Name)
	}
	if err := c.Service.Config.Catalog.Problem(model); err != nil {
		return refused("%s", fault.Message(err))
	}
	encoder, ok := c.Service.Config.Catalog.ImageEncoder(model)
	if !ok {
		return refused("%s needs the image encoder CLIP ViT-H, which is not there: put h94/IP-Adapter's models/image_encoder/model.safetensors, "+
			"or the extension's clip_h.pth, into models/clip_vision", model.FileName())
	}
	return encoder.Path, nil
}

// NetworkOf is the file of the network that a preprocessor needs, "" if it needs none.
func (s *Service) NetworkOf(module hint.Module) (string, error) {
	if module.Depth == 0 {
		return "", nil
	}
	f, ok := s.Config.Catalog.Depth(module.Depth == depth.V2)
	if !ok {
		file := "depth_anything_vitl14.pth"
		if module.Depth == depth.V2 {
			file = "depth_anything_v2_vitl.safetensors"
		}
		return "", exception.Refuse(http.StatusUnprocessableEntity, "ControlNet preprocessor %s needs a network that is not there: put %s, or its small one, into "+
			"models/depth_anything; the name of a file of version 2 has \"v2\" in it", module.Name, file)
	}
	return f.Path, nil
}

// unknownModule says that a preprocessor is not available, and what to use instead.
func unknownModule(name string) string {
	switch {
	case strings.HasPrefix(name, "ip-adapter_face_id"), strings.Contains(name, "pulid"), strings.HasPrefix(name, "instant_id"):
		return "ControlNet preprocessor " + pyjson.Quoted(name) + " needs a face recognition network (InsightFace) that is not built in; " +
			"ip-adapter-plus-face_sd15 with module ip-adapter_clip_sd15 needs none"
	case strings.HasPrefix(name, "depth"):
		return "ControlNet preprocessor " + pyjson.Quoted(name) + " is not available: use depth_anything, which is built in"
	case strings.HasPrefix(name, "ip-adapter"):
		return "ControlNet preprocessor " + pyjson.Quoted(name) + " is for Stable Diffusion XL; for Stable Diffusion 1.5 it is ip-adapter_clip_sd15"
	}
	return "ControlNet preprocessor " + pyjson.Quoted(name) + " is not available: send the preprocessed picture with module none"
}

// tiled reports whether the job paints a picture in tiles: "SD upscale" and its kin, whose
// units always get the part of the tile.
func (c *Call) tiled() bool { return c.Script != nil && strings.Contains(c.Script.Name, "upscale") }

// unitPicture reads image and mask of a unit: its own, or those of the init image.
func (c *Call) unitPicture(ctx context.Context, i int, unit *request.Fields, module hint.Module, out *inference.ControlUnit) error {
	sent, err := unitPictures(unit)
	if err != nil {
		return err
	}
	if len(sent) > 1 && !module.Vision {
		return exception.Refuse(http.StatusUnprocessableEntity, "a ControlNet unit takes one image, %d were sent", len(sent))
	}
	for n, s := range sent {
		switch {
		case s.image != nil:
		case s.mask != nil || len(sent) > 1:
			return exception.Refuse(http.StatusUnprocessableEntity, "ControlNet unit %d has a mask and no image", i)
		default:
			if out.OfInit = c.Req.Init != nil; !out.OfInit {
				return exception.Refuse(http.StatusUnprocessableEntity, "ControlNet unit %d has no image", i)
			}
			return nil
		}
		picture, err := c.controlPicture(ctx, i, s, module)
		if err != nil {
			return err
		}
		if n == 0 {
			out.Image, out.Mask = picture.Image, picture.Mask
		} else {
			out.More = append(out.More, picture)
		}
	}
	return nil
}

// controlPicture decodes a picture of unit i in the form that its preprocessor takes.
func (c *Call) controlPicture(ctx context.Context, i int, sent sentPicture, module hint.Module) (p inference.ControlPicture, err error) {
	white := [3]uint8{255, 255, 255}
	image, _, err := c.Service.Reader.One(ctx, sent.image, c.Options)
	if err != nil {
		return p, err
	}
	p.Image = image.RGB(white)
	if sent.mask == nil {
		return p, nil
	}
	picture, _, err := c.Service.Reader.One(ctx, sent.mask, c.Options)
	if err != nil {
		return p, err
	}
	mask := FirstChannel(picture.RGB(white))
	if mask.W != p.Image.W || mask.H != p.Image.H {
		return p, exception.Refuse(http.StatusUnprocessableEntity, "ControlNet unit %d: image shape ((%d, %d)) not aligned with mask shape ((%d, %d))",
			i, p.Image.H, p.Image.W, mask.H, mask.W)
	}
	switch few, most := slices.Min(mask.Pix), slices.Max(mask.Pix); {
	case module.Masked, module.Vision:
		p.Mask = &mask
	case most > 5 && few < 250: // a drawing: the mask is what the preprocessor gets
		p.Image = mask.RGB()
	}
	return p, nil
}

// layerWeights reads advanced_weighting, a strength for each residual of a ControlNet or
// for each cross attention of an IP-Adapter.
func layerWeights(i int, unit *request.Fields, layers int) ([]float64, error) {
	v, _ := unit.Get("advanced_weighting")
	if v == nil {
		return nil, nil
	}
	list, _ := v.([]any)
	weights := make([]float64, 0, len(list))
	for _, item := range list {
		switch item := item.(type) {
		case float64:
			weights = append(weights, item)
		case int64:
			weights = append(weights, float64(item))
		}
	}
	if len(weights) != layers || len(weights) != len(list) {
		return nil, exception.Refuse(http.StatusUnprocessableEntity, "ControlNet unit %d: advanced_weighting must be a list of %d numbers", i, layers)
	}
	return weights, nil
}

// showBounds writes parameters that were brought into their bounds back into the unit, so
// that its infotext shows what was used.
func showBounds(unit *request.Fields, module hint.Module) {
	sent := hint.Sliders{Resolution: unit.Whole("processor_res"), A: unit.Number("threshold_a"), B: unit.Number("threshold_b")}
	used := module.Bounded(sent)
	for _, f := range []struct {
		name       string
		sent, used float64
		slider     hint.Slider
	}{
		{"processor_res", float64(sent.Resolution), float64(used.Resolution), module.Sliders[0]},
		{"threshold_a", sent.A, used.A, module.Sliders[1]},
		{"threshold_b", sent.B, used.B, module.Sliders[2]},
	} {
		switch {
		case f.sent == f.used:
		case f.slider.Whole():
			unit.Set(f.name, int64(f.slider.Value))
		default:
			unit.Set(f.name, f.slider.Value)
		}
	}
}

// sentPicture is an image and its mask as a unit has them, nil for none.
type sentPicture struct{ image, mask any }

// unitPictures returns the pictures of a unit, always at least one, which may be empty.
// Image and mask may come in one object or in a list of two; a list of objects holds
// several pictures.
func unitPictures(unit *request.Fields) ([]sentPicture, error) {
	var sent sentPicture
	sent.image, _ = unit.Get("image")
	for _, name := range []string{"mask_image", "mask"} {
		if v, _ := unit.Get(name); v != nil && v != "" {
			sent.mask = v
		}
	}
	if list, ok := sent.image.([]any); ok {
		sent.image = nil
		if len(list) > 0 {
			sent.image = list[0]
		}
		_, objects := sent.image.(*pyjson.Object)
		switch {
		case objects && len(list) > 1:
			return picturesOf(list)
		case len(list) > 2:
			return nil, exception.Refuse(http.StatusUnprocessableEntity, "a ControlNet unit takes one image, %d were sent", len(list))
		case len(list) > 1 && sent.mask == nil:
			sent.mask = list[1]
		}
	}
	if both, ok := sent.image.(*pyjson.Object); ok {
		own := pictureOf(both)
		sent.image = own.image
		if sent.mask == nil {
			sent.mask = own.mask
		}
	}
	return []sentPicture{sent.withoutEmpty()}, nil
}

// picturesOf reads a list of objects, each with image and mask.
func picturesOf(list []any) (pictures []sentPicture, err error) {
	for _, v := range list {
		both, ok := v.(*pyjson.Object)
		if !ok {
			return nil, exception.Refuse(http.StatusUnprocessableEntity, `the images of a ControlNet unit are objects with "image" and "mask", all or none`)
		}
		pictures = append(pictures, pictureOf(both).withoutEmpty())
	}
	return pictures, nil
}

func pictureOf(both *pyjson.Object) (s sentPicture) {
	s.image, _ = both.Get("image")
	s.mask, _ = both.Get("mask")
	return s
}

// withoutEmpty replaces "", which clients send for no picture, by nil.
func (s sentPicture) withoutEmpty() sentPicture {
	for _, v := range []*any{&s.image, &s.mask} {
		if *v == "" {
			*v = nil
		}
	}
	return s
}

// oldResizeModes are captions that earlier versions of the extension had.
var oldResizeModes = map[string]int{
	"Scale to Fit (Inner Fit)": 1, "Inner Fit (Scale to Fit)": 1,
	"Envelope (Outer Fit)": 2, "Outer Fit (Shrink to Fit)": 2,
}

// choice reads a field that takes a caption or its number.
func choice(unit *request.Fields, name string, captions []string, old map[string]int, def int) int {
	v, _ := unit.Get(name)
	switch v := v.(type) {
	case string:
		for i, caption := range captions {
			if strings.EqualFold(v, caption) {
				return i
			}
		}
		if i, ok := old[v]; ok {
			return i
		}
	case int64:
		if v >= 0 && int(v) < len(captions) {
			return int(v)
		}
	}
	return def
}

// FirstChannel is the first channel of a picture, which the extension takes as a mask.
func FirstChannel(m imageio.RGB) imageio.Gray {
	out := imageio.NewGray(m.W, m.H)
	for i := range out.Pix {
		out.Pix[i] = m.Pix[3*i]
	}
	return out
}
