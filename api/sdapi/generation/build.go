package generation

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"sdworker/api/infotext"
	"sdworker/api/sdapi/exception"
	"sdworker/api/sdapi/picture"
	"sdworker/api/sdapi/pyjson"
	"sdworker/api/sdapi/styles"
	"sdworker/fault"
	"sdworker/inference"
	"sdworker/inference/clip"
	"sdworker/inference/imageio"
	"sdworker/inference/prompt"
	"sdworker/inference/rng"
	"sdworker/models/catalog"
)

// build makes the request of the pipeline: everything resolved, nothing random.
func (c *Call) build(ctx context.Context) error {
	in, s := &c.In, c.Service
	if c.id = in.Text("force_task_id"); c.id == "" {
		c.id = TaskID(c.Tab.Name)
	}
	c.styles = in.Texts("styles")
	c.Width, c.Height = in.Whole("width"), in.Whole("height")
	c.faces = in.Flag("restore_faces", c.Options.Bool("face_restoration"))
	c.Req = &inference.Request{
		Seed:            c.seed("seed"),
		Subseed:         c.seed("subseed"),
		SubseedOpen:     c.open("subseed"),
		SubseedStrength: in.Number("subseed_strength"),
		SeedResizeW:     in.Whole("seed_resize_from_w"),
		SeedResizeH:     in.Whole("seed_resize_from_h"),
		Sampler:         c.sampler.Name,
		Steps:           in.Whole("steps"),
		CFGScale:        in.Number("cfg_scale"),
		Width:           imageio.FloorToLatent(c.Width),
		Height:          imageio.FloorToLatent(c.Height),
		BatchSize:       in.Whole("batch_size"),
		BatchNum:        in.Whole("n_iter"),
		Tiling:          in.Flag("tiling", c.Options.Bool("tiling")),
		Settings:        settings(c.Options, in),
		Preview:         s.preview(c.Options),
	}
	if c.scheduler != nil {
		c.Req.Scheduler = *c.scheduler
		c.noteUnknownSchedule(c.sampler, *c.scheduler)
	}
	if d := in.MaybeNumber("denoising_strength"); d != nil {
		c.Req.DenoisingStrength = *d
	}
	c.buildPrompts()
	if err := c.applyGuidance(); err != nil {
		return err
	}
	if err := c.buildRefiner(); err != nil {
		return err
	}
	if err := c.buildFiles(); err != nil {
		return err
	}
	if err := c.Tab.build(c, ctx); err != nil {
		return err
	}
	c.applyRegions()
	if err := c.buildControl(ctx); err != nil {
		return err
	}
	if err := c.buildDetails(); err != nil {
		return err
	}
	if in.Err != nil {
		return in.Err
	}
	if err := c.Options.Err(); err != nil {
		return err
	}
	return c.Check()
}

// Check reports what A1111 would fail on while it samples, and sizes beyond what
// any machine can do.
func (c *Call) Check() error {
	r := c.Req
	switch {
	case !slices.Contains(rng.SourceNames(), r.Settings.NoiseSource):
		return exception.Crash("ValueError", "randn_source must be one of %s, not %s", strings.Join(rng.SourceNames(), ", "), pyjson.Quoted(r.Settings.NoiseSource))
	case !slices.Contains(picture.Formats, picture.FormatName(c.Options)):
		return exception.Refuse(http.StatusInternalServerError, "Invalid image format")
	}
	if err := r.Check(); err != nil {
		return c.rangeError(err)
	}
	return c.checkWeights()
}

// rangeError gives an error of Request.Check the values that were sent, before they
// were rounded, and the class of exception that A1111 ends with, where it does.
func (c *Call) rangeError(err error) error {
	e, ok := errors.AsType[*fault.Error](err)
	if !ok {
		return err
	}
	r := c.Req
	switch e.Field {
	case "width":
		err = inference.SideError(e.Field, c.Width)
	case "height":
		err = inference.SideError(e.Field, c.Height)
	}
	class, ends := "", false
	switch e.Field {
	case "batch_size":
		class, ends = "IndexError", r.BatchSize < 1
	case "n_iter":
		class, ends = "IndexError", r.BatchNum < 1
	case "width":
		class, ends = "ValueError", r.Width < 1
	case "height":
		class, ends = "ValueError", r.Height < 1
	case "steps":
		class, ends = "ValueError", r.Steps < 1
	case "CLIP_stop_at_last_layers":
		class, ends = "IndexError", r.Settings.ClipSkip > 1
	}
	if ends {
		return exception.Crash(class, "%s", fault.Message(err))
	}
	return err
}

// checkWeights reports the first attention weight of the prompts that is no
// number.
func (c *Call) checkWeights() error {
	if c.Req.Settings.Emphasis == clip.EmphasisNone.String() {
		return nil // brackets are plain text
	}
	for _, text := range slices.Compact(c.encodedTexts()) {
		if _, err := prompt.ParseAttention(text); err != nil {
			return exception.Crash("ValueError", "%s", err)
		}
	}
	return nil
}

// buildRefiner finds the refiner. Without refiner_switch_at it takes over at once, as in
// A1111.
func (c *Call) buildRefiner() error {
	name := c.In.Text("refiner_checkpoint")
	if name == "" || name == "None" {
		return nil
	}
	file, ok := c.Service.Config.Catalog.ClosestCheckpoint(name)
	if !ok {
		return exception.Crash("Exception", "Could not find checkpoint with name %s", name)
	}
	c.refiner = &infotext.Refiner{Checkpoint: file.ShortTitle(), SwitchAt: c.In.MaybeNumber("refiner_switch_at")}
	pass := c.Options.Text("hires_fix_refiner_pass")
	c.Req.Refiner = &inference.Refiner{
		Checkpoint: file.Path, BySteps: c.Options.Bool("refiner_switch_by_sample_steps"), FirstPass: pass != "second pass", SecondPass: pass != "first pass",
	}
	if at := c.refiner.SwitchAt; at != nil {
		c.Req.Refiner.SwitchAt = *at
	}
	return nil
}

// seed reads a seed field; null and negative numbers mean a random one.
func (c *Call) seed(name string) int64 {
	if c.open(name) {
		return c.Service.Config.Seed()
	}
	return *c.In.MaybeWhole(name)
}

// open reports whether a seed field leaves its seed to chance.
func (c *Call) open(name string) bool {
	v := c.In.MaybeWhole(name)
	return v == nil || *v < 0
}

// buildPrompts merges styles into the prompts and removes comments.
func (c *Call) buildPrompts() {
	c.Req.Prompt, c.Req.NegativePrompt = c.FinishPrompts(c.In.Text("prompt"), c.In.Text("negative_prompt"))
}

// FinishPrompts makes a pair of prompts what the pipeline gets: with the styles and the
// networks of the options, without comments.
func (c *Call) FinishPrompts(positive, negative string) (string, string) {
	if len(c.styles) > 0 {
		positive, negative = styles.Apply(c.Service.AllStyles(), c.styles, positive, negative)
	}
	if c.Options.Bool("enable_prompt_comments") {
		positive, negative = prompt.StripComments(positive), prompt.StripComments(negative)
	}
	return c.withNetworks(positive), negative
}

// withNetworks adds the tags of the networks that the options sd_hypernetwork and sd_lora
// name, which texts show as A1111's do; a prompt that has such a tag of its own keeps it.
func (c *Call) withNetworks(text string) string {
	if c.In.Flag("disable_extra_networks", false) {
		return text
	}
	known := c.Service.Config.Catalog
	for _, option := range []struct {
		kind, name string
		exists     func(name string) bool
	}{
		{"hypernet", c.Options.Text("sd_hypernetwork"), func(name string) bool {
			return slices.ContainsFunc(known.Hypernetworks(), func(h catalog.Hypernetwork) bool { return h.Name == name })
		}},
		{"lora", c.Options.Text("sd_lora"), func(name string) bool { _, ok := known.LoRA(name); return ok }},
	} {
		if !named(option.name) || !option.exists(option.name) {
			continue
		}
		_, tags := prompt.ExtractNetworks(text)
		if !slices.ContainsFunc(tags, func(n prompt.Network) bool { return n.Type == option.kind && n.Args[0] == option.name }) {
			text += fmt.Sprintf("<%s:%s:%s>", option.kind, option.name, pyjson.Repr(c.Options.Float("extra_networks_default_multiplier")))
		}
	}
	return text
}

// vaeNotFound says that a VAE named by a client does not exist, or is a kind of file that
// is not listed.
func vaeNotFound(name string) string {
	text := "VAE " + pyjson.Quoted(name) + " was not found; the checkpoint's own is used"
	if catalog.NeedsPermission(name) {
		text += " (PyTorch files are found only where ALLOW_PICKLE is on)"
	}
	return text
}

// buildFiles finds the model files of the request.
func (c *Call) buildFiles() error {
	s, known := c.Service, c.Service.Config.Catalog
	var err error
	if c.checkpoint, err = s.chosenCheckpoint(c.Options.Text("sd_model_checkpoint")); err != nil {
		return err
	}
	vae, explicit := known.VAEFor(c.checkpoint, c.Options.Text("sd_vae"))
	if explicit {
		c.vae = &vae
	} else if name := c.Options.Text("sd_vae"); !slices.Contains([]string{"", "auto", "Automatic", "None"}, name) {
		c.Note("%s", vaeNotFound(name))
	}
	taesd, _ := known.PreviewDecoder()
	files := inference.Files{
		Checkpoint: c.checkpoint.Path,
		LoRAs:      make(map[string]string),
		Hypernets:  make(map[string]string),
		Embeddings: make(map[string]string),
		Upscalers:  s.upscalerModels(),
		TAESD:      taesd.Path,
	}
	if explicit {
		files.VAE = vae.Path
	}
	for _, h := range known.Hypernetworks() {
		files.Hypernets[h.Name] = h.Path
	}
	for _, e := range known.Embeddings() { // those that cannot be used, too: the pipeline tells
		files.Embeddings[e.Content.Name] = e.Path
	}
	c.Req.Files = files
	c.FindLoRAs(c.Req.Prompt)
	return nil
}

// FindLoRAs finds the files of the LoRA tags in a prompt. A tag without a file is left
// out; the pipeline tells the client.
func (c *Call) FindLoRAs(text string) {
	_, networks := prompt.ExtractNetworks(text)
	loras, err := prompt.LoRAs(networks)
	if err != nil {
		return // as in A1111 then none takes effect, which the pipeline tells
	}
	for _, l := range loras {
		if f, ok := c.Service.Config.Catalog.LoRA(l.Name); ok {
			c.Req.Files.LoRAs[l.Name] = f.Path
		}
	}
}
