package sdapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"sdworker/api/infotext"
	"sdworker/api/sdapi/pyjson"
	"sdworker/fault"
	"sdworker/inference"
	"sdworker/inference/clip"
	"sdworker/inference/imageio"
	"sdworker/inference/prompt"
	"sdworker/inference/rng"
	"sdworker/models/catalog"
)

// build makes the request of the pipeline: everything resolved, nothing random.
func (c *call) build(ctx context.Context) error {
	in, s := &c.in, c.server
	if c.id = in.text("force_task_id"); c.id == "" {
		c.id = taskID(c.tab.name)
	}
	c.styles = in.texts("styles")
	c.width, c.height = in.whole("width"), in.whole("height")
	c.faces = in.flag("restore_faces", c.opts.Bool("face_restoration"))
	c.req = &inference.Request{
		Seed:            c.seed("seed"),
		Subseed:         c.seed("subseed"),
		SubseedOpen:     c.open("subseed"),
		SubseedStrength: in.number("subseed_strength"),
		SeedResizeW:     in.whole("seed_resize_from_w"),
		SeedResizeH:     in.whole("seed_resize_from_h"),
		Sampler:         c.sampler.Name,
		Steps:           in.whole("steps"),
		CFGScale:        in.number("cfg_scale"),
		Width:           imageio.FloorToLatent(c.width),
		Height:          imageio.FloorToLatent(c.height),
		BatchSize:       in.whole("batch_size"),
		BatchNum:        in.whole("n_iter"),
		Tiling:          in.flag("tiling", c.opts.Bool("tiling")),
		Settings:        settings(c.opts, in),
		Preview:         s.preview(c.opts),
	}
	if c.scheduler != nil {
		c.req.Scheduler = *c.scheduler
		c.noteUnknownSchedule(c.sampler, *c.scheduler)
	}
	if d := in.maybeNumber("denoising_strength"); d != nil {
		c.req.DenoisingStrength = *d
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
	if err := c.tab.build(c, ctx); err != nil {
		return err
	}
	c.applyRegions()
	if err := c.buildControl(ctx); err != nil {
		return err
	}
	if err := c.buildDetails(); err != nil {
		return err
	}
	if in.err != nil {
		return in.err
	}
	if err := c.opts.Err(); err != nil {
		return err
	}
	return c.check()
}

// check reports what A1111 would fail on while it samples, and sizes beyond what
// any machine can do.
func (c *call) check() error {
	r := c.req
	switch {
	case !slices.Contains(rng.SourceNames(), r.Settings.NoiseSource):
		return crash("ValueError", "randn_source must be one of %s, not %s", strings.Join(rng.SourceNames(), ", "), quoted(r.Settings.NoiseSource))
	case !slices.Contains(imageFormats, formatName(c.opts)):
		return refuse(http.StatusInternalServerError, "Invalid image format")
	}
	if err := r.Check(); err != nil {
		return c.rangeError(err)
	}
	return c.checkWeights()
}

// rangeError gives an error of Request.Check the values that were sent, before they
// were rounded, and the class of exception that A1111 ends with, where it does.
func (c *call) rangeError(err error) error {
	e, ok := errors.AsType[*fault.Error](err)
	if !ok {
		return err
	}
	r := c.req
	switch e.Field {
	case "width":
		err = inference.SideError(e.Field, c.width)
	case "height":
		err = inference.SideError(e.Field, c.height)
	}
	exception, ends := "", false
	switch e.Field {
	case "batch_size":
		exception, ends = "IndexError", r.BatchSize < 1
	case "n_iter":
		exception, ends = "IndexError", r.BatchNum < 1
	case "width":
		exception, ends = "ValueError", r.Width < 1
	case "height":
		exception, ends = "ValueError", r.Height < 1
	case "steps":
		exception, ends = "ValueError", r.Steps < 1
	case "CLIP_stop_at_last_layers":
		exception, ends = "IndexError", r.Settings.ClipSkip > 1
	}
	if ends {
		return crash(exception, "%s", fault.Message(err))
	}
	return err
}

// checkWeights reports the first attention weight of the prompts that is no
// number.
func (c *call) checkWeights() error {
	if c.req.Settings.Emphasis == clip.EmphasisNone.String() {
		return nil // brackets are plain text
	}
	for _, text := range slices.Compact(c.encodedTexts()) {
		if _, err := prompt.ParseAttention(text); err != nil {
			return crash("ValueError", "%s", err)
		}
	}
	return nil
}

// buildRefiner finds the refiner. Without refiner_switch_at it takes over at once, as in
// A1111.
func (c *call) buildRefiner() error {
	name := c.in.text("refiner_checkpoint")
	if name == "" || name == "None" {
		return nil
	}
	file, ok := c.server.cfg.Catalog.ClosestCheckpoint(name)
	if !ok {
		return crash("Exception", "Could not find checkpoint with name %s", name)
	}
	c.refiner = &infotext.Refiner{Checkpoint: file.ShortTitle(), SwitchAt: c.in.maybeNumber("refiner_switch_at")}
	pass := c.opts.Text("hires_fix_refiner_pass")
	c.req.Refiner = &inference.Refiner{
		Checkpoint: file.Path, BySteps: c.opts.Bool("refiner_switch_by_sample_steps"), FirstPass: pass != "second pass", SecondPass: pass != "first pass",
	}
	if at := c.refiner.SwitchAt; at != nil {
		c.req.Refiner.SwitchAt = *at
	}
	return nil
}

// seed reads a seed field; null and negative numbers mean a random one.
func (c *call) seed(name string) int64 {
	if c.open(name) {
		return c.server.cfg.Seed()
	}
	return *c.in.maybeWhole(name)
}

// open reports whether a seed field leaves its seed to chance.
func (c *call) open(name string) bool {
	v := c.in.maybeWhole(name)
	return v == nil || *v < 0
}

// buildPrompts merges styles into the prompts and removes comments.
func (c *call) buildPrompts() {
	c.req.Prompt, c.req.NegativePrompt = c.finishPrompts(c.in.text("prompt"), c.in.text("negative_prompt"))
}

func (c *call) finishPrompts(positive, negative string) (string, string) {
	if len(c.styles) > 0 {
		positive, negative = styled(c.server.allStyles(), c.styles, positive, negative)
	}
	if c.opts.Bool("enable_prompt_comments") {
		positive, negative = prompt.StripComments(positive), prompt.StripComments(negative)
	}
	return c.withNetworks(positive), negative
}

// withNetworks adds the tags of the networks that the options sd_hypernetwork and sd_lora
// name, which texts show as A1111's do; a prompt that has such a tag of its own keeps it.
func (c *call) withNetworks(text string) string {
	if c.in.flag("disable_extra_networks", false) {
		return text
	}
	known := c.server.cfg.Catalog
	for _, option := range []struct {
		kind, name string
		exists     func(name string) bool
	}{
		{"hypernet", c.opts.Text("sd_hypernetwork"), func(name string) bool {
			return slices.ContainsFunc(known.Hypernetworks(), func(h catalog.Hypernetwork) bool { return h.Name == name })
		}},
		{"lora", c.opts.Text("sd_lora"), func(name string) bool { _, ok := known.LoRA(name); return ok }},
	} {
		if !named(option.name) || !option.exists(option.name) {
			continue
		}
		_, tags := prompt.ExtractNetworks(text)
		if !slices.ContainsFunc(tags, func(n prompt.Network) bool { return n.Type == option.kind && n.Args[0] == option.name }) {
			text += fmt.Sprintf("<%s:%s:%s>", option.kind, option.name, pyjson.Repr(c.opts.Float("extra_networks_default_multiplier")))
		}
	}
	return text
}

// vaeNotFound says that a VAE which a client named is not there, or not to be seen.
func vaeNotFound(name string) string {
	text := "VAE " + quoted(name) + " was not found; the checkpoint's own is used"
	if catalog.NeedsPermission(name) {
		text += " (PyTorch files are found only where ALLOW_PICKLE is on)"
	}
	return text
}

// buildFiles finds the model files of the request.
func (c *call) buildFiles() error {
	s, known := c.server, c.server.cfg.Catalog
	var err error
	if c.checkpoint, err = s.chosenCheckpoint(c.opts.Text("sd_model_checkpoint")); err != nil {
		return err
	}
	vae, explicit := known.VAEFor(c.checkpoint, c.opts.Text("sd_vae"))
	if explicit {
		c.vae = &vae
	} else if name := c.opts.Text("sd_vae"); !slices.Contains([]string{"", "auto", "Automatic", "None"}, name) {
		c.note("%s", vaeNotFound(name))
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
	c.req.Files = files
	c.findLoRAs(c.req.Prompt)
	return nil
}

// findLoRAs resolves the tags of a prompt. A name without a file stays out; the
// pipeline tells the client.
func (c *call) findLoRAs(text string) {
	_, networks := prompt.ExtractNetworks(text)
	loras, err := prompt.LoRAs(networks)
	if err != nil {
		return // as in A1111 then none takes effect, which the pipeline tells
	}
	for _, l := range loras {
		if f, ok := c.server.cfg.Catalog.LoRA(l.Name); ok {
			c.req.Files.LoRAs[l.Name] = f.Path
		}
	}
}
