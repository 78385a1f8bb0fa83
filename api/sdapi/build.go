package sdapi

import (
	"context"
	"net/http"
	"slices"

	"sdworker/inference"
	"sdworker/inference/clip"
	"sdworker/inference/imageio"
	"sdworker/inference/prompt"
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
	}
	if d := in.maybeNumber("denoising_strength"); d != nil {
		c.req.DenoisingStrength = *d
	}
	c.buildPrompts()
	if err := c.applyGuidance(); err != nil {
		return err
	}
	if err := c.checkRefiner(); err != nil {
		return err
	}
	if err := c.buildFiles(); err != nil {
		return err
	}
	if err := c.tab.build(c, ctx); err != nil {
		return err
	}
	if err := c.buildControl(ctx); err != nil {
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
	case r.BatchSize < 1 || r.BatchNum < 1:
		return crash("IndexError", "batch_size and n_iter must be 1 or more")
	case r.Width < 1 || r.Height < 1:
		return crash("ValueError", "width and height must be 8 or more")
	case r.Steps < 1:
		return crash("ValueError", "steps must be 1 or more")
	case r.Settings.ClipSkip > 12:
		return crash("IndexError", "CLIP_stop_at_last_layers must be 1 to 12")
	case !slices.Contains([]string{"GPU", "CPU", "NV"}, r.Settings.NoiseSource):
		return crash("ValueError", "randn_source must be GPU, CPU or NV, not %s", quoted(r.Settings.NoiseSource))
	case !slices.Contains(imageFormats, formatName(c.opts)):
		return refuse(http.StatusInternalServerError, "Invalid image format")
	}
	if err := r.Check(); err != nil {
		return err
	}
	return c.checkWeights()
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

// checkRefiner finds the refiner, as A1111 does. It is not supported beyond that.
func (c *call) checkRefiner() error {
	name := c.in.text("refiner_checkpoint")
	if name == "" || name == "None" {
		return nil
	}
	if _, ok := c.server.cfg.Catalog.ClosestCheckpoint(name); !ok {
		return crash("Exception", "Could not find checkpoint with name %s", name)
	}
	if at := c.in.maybeNumber("refiner_switch_at"); at != nil && *at > 0 && *at < 1 {
		c.note("the refiner %s is not supported and did nothing", quoted(name))
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
	return positive, negative
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
		c.note("VAE %s was not found; the checkpoint's own is used", quoted(name))
	}
	taesd, _ := known.PreviewDecoder()
	files := inference.Files{
		Checkpoint: c.checkpoint.Path,
		LoRAs:      make(map[string]string),
		Embeddings: make(map[string]string),
		Upscalers:  make(map[string]string),
		TAESD:      taesd.Path,
	}
	if explicit {
		files.VAE = vae.Path
	}
	for _, e := range s.embeddings() {
		files.Embeddings[e.Content.Name] = e.Path
	}
	for _, u := range s.upscalers() {
		files.Upscalers[u.Stem()] = u.Path
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
