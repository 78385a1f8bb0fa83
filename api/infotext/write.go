package infotext

import (
	"fmt"
	"slices"
	"strings"

	"sdworker/inference"
)

// Write prints the text of one picture.
func Write(p Params) string {
	var line []string
	for _, e := range p.entries() {
		switch e.Value {
		case nil:
		case e.Key:
			line = append(line, e.Key)
		default:
			line = append(line, e.Key+": "+Quote(e.Value))
		}
	}
	text := p.Request.Prompt
	if p.Request.NegativePrompt != "" {
		text += "\n" + negativeLabel + " " + p.Request.NegativePrompt
	}
	return strip(text + "\n" + strings.Join(line, ", "))
}

const negativeLabel = "Negative prompt:"

// entries lists all keys in their order; a nil value leaves the key out but keeps
// its place, for a later value of the same key.
func (p Params) entries() []Entry {
	var t table
	r, o := p.Request, p.Request.Settings
	t.set("Steps", r.Steps)
	t.set("Sampler", r.Sampler)
	t.set("Schedule type", optional(p.Scheduler))
	t.set("CFG scale", r.CFGScale)
	t.set("Image CFG scale", optional(p.ImageCFGScale))
	t.set("Seed", p.Seed)
	t.set("Face restoration", text(p.FaceRestoration))
	t.set("Size", fmt.Sprintf("%dx%d", p.Width, p.Height))
	t.set("Model hash", text(p.ModelHash))
	t.set("Model", text(p.Model))
	t.set("FP8 weight", text(p.FP8Weight))
	t.set("Cache FP16 weight for LoRA", optional(p.CacheFP16))
	t.set("VAE hash", text(p.VAEHash))
	t.set("VAE", text(p.VAE))
	t.set("Variation seed", when(r.SubseedStrength != 0, p.VariationSeed))
	t.set("Variation seed strength", nonZero(r.SubseedStrength))
	t.set("Seed resize from", when(r.SeedResizeW > 0 && r.SeedResizeH > 0, fmt.Sprintf("%dx%d", r.SeedResizeW, r.SeedResizeH)))
	t.set("Denoising strength", nil) // the place of an extra
	t.set("Conditional mask weight", optional(p.ConditionalMaskWeight))
	t.set("Clip skip", when(o.ClipSkip > 1, o.ClipSkip))
	t.set("ENSD", when(o.ENSD != 0 && infoOf(r.Sampler).UsesENSD && p.eta(r.Sampler) != 0, o.ENSD))
	t.set("Token merging ratio", nonZero(p.TokenMergingRatio))
	t.set("Token merging ratio hr", when(p.Hires != nil && p.TokenMergingRatioHR != 0, p.TokenMergingRatioHR))
	t.set("Init image hash", text(p.InitImageHash))
	t.set("RNG", when(o.NoiseSource != "" && o.NoiseSource != "GPU", o.NoiseSource))
	t.set("NGMS", nonZero(o.SMinUncond))
	t.set("Tiling", when(r.Tiling, true))

	for _, e := range p.extras().entries {
		t.set(e.Key, e.Value)
	}
	t.set("Version", text(p.Version))
	t.set("User", text(p.User))
	return t.entries
}

// Extra lists the keys that A1111 calls extra generation parameters: what scripts,
// hires fix, inpainting, networks and samplers add.
func (p Params) Extra() []Entry {
	return slices.DeleteFunc(p.extras().entries, func(e Entry) bool { return e.Value == nil })
}

// extras collects them in the order of A1111's steps.
func (p Params) extras() *table {
	t := new(table)
	r, mask := p.Request, p.mask()
	schedule := scheduleLabel(r.Sampler, deref(p.Scheduler))
	for _, e := range p.Scripts {
		t.set(e.Key, e.Value)
	}
	t.set("Denoising strength", when(r.Init != nil || r.Hires != nil, r.DenoisingStrength))
	p.Hires.entries(t, p, schedule)
	maskEntries(t, mask)
	if p.Hires == nil {
		t.set("VAE Encoder", vae(p.Sampling.VAEEncoder))
	}
	latentMaskEntries(t, mask)
	t.set("Lora hashes", text(hashes(p.Loras)))
	t.set("Old prompt editing timelines", when(p.Sampling.OldTimelines, true))
	t.set("TI hashes", text(hashes(p.Embeddings)))
	t.set("Emphasis", when(r.Settings.Emphasis != "" && r.Settings.Emphasis != "Original" && anyAttention(p.Encoded), r.Settings.Emphasis))
	p.samplingEntries(t, schedule)
	return t
}

func (h *Hires) entries(t *table, p Params, firstSchedule string) {
	if h == nil {
		return
	}
	r, second := p.Request, p.Request.Hires
	t.set("Hires checkpoint", text(h.Checkpoint))
	t.set("Hires sampler", when(deref(h.Sampler) != r.Sampler, optional(h.Sampler)))
	t.set("Hires prompt", when(second.Prompt != r.Prompt, second.Prompt))
	t.set("Hires negative prompt", when(second.NegativePrompt != r.NegativePrompt, second.NegativePrompt))
	schedule := h.schedule(p)
	t.set("Hires schedule type", when(schedule != firstSchedule, text(schedule)))
	if h.ResizeX == 0 && h.ResizeY == 0 {
		t.set("Hires upscale", h.Scale)
	} else {
		t.set("Hires resize", fmt.Sprintf("%dx%d", h.ResizeX, h.ResizeY))
	}
	t.set("Hires steps", when(second.Steps != 0, second.Steps))
	t.set("Hires upscaler", optional(h.Upscaler))
}

// sampler is the name of the second pass's sampler.
func (h *Hires) sampler(p Params) string {
	if name := deref(h.Sampler); name != "" {
		return name
	}
	return p.Request.Sampler
}

// schedule is the label of the second pass's scheduler, see scheduleLabel.
func (h *Hires) schedule(p Params) string {
	scheduler := h.Scheduler
	if scheduler == nil {
		scheduler = p.Scheduler
	}
	return scheduleLabel(h.sampler(p), deref(scheduler))
}

// Values of inpainting_fill; 1, "original", is not recorded.
const (
	contentFill    = 0
	contentNoise   = 2
	contentNothing = 3
)

// mask is the one that is told, nil for none. A blank mask with "only masked" is none
// in A1111.
func (p Params) mask() *inference.Mask {
	if p.Request.Init == nil || p.Request.Init.Mask == nil {
		return nil
	}
	if m := p.Request.Init.Mask; !m.OnlyMasked || !blank(m) {
		return m
	}
	return nil
}

// blank reports whether a mask, inverted where asked, leaves nothing to repaint.
func blank(m *inference.Mask) bool {
	keep := uint8(0)
	if m.Invert {
		keep = 255
	}
	return !slices.ContainsFunc(m.Image.Pix, func(v uint8) bool { return v != keep })
}

// maskEntries are the keys known before the init image is encoded.
func maskEntries(t *table, m *inference.Mask) {
	if m == nil {
		return
	}
	t.set("Mask mode", when(m.Invert, "Inpaint not masked"))
	t.set("Mask blur", when(m.BlurX > 0 && m.BlurX == m.BlurY, m.BlurX))
	t.set("Inpaint area", when(m.OnlyMasked, "Only masked"))
	t.set("Masked area padding", when(m.OnlyMasked, m.Padding))
	if m.Fill == contentFill {
		t.set("Masked content", "fill")
	}
}

// latentMaskEntries are the contents that are filled in after encoding.
func latentMaskEntries(t *table, m *inference.Mask) {
	if m == nil {
		return
	}
	switch m.Fill {
	case contentNoise:
		t.set("Masked content", "latent noise")
	case contentNothing:
		t.set("Masked content", "latent nothing")
	}
}

// samplingEntries are the keys that A1111 adds while it samples and decodes.
func (p Params) samplingEntries(t *table, schedule string) {
	s, r, o := p.Sampling, p.Request, p.Request.Settings
	fromNoise := r.Init == nil // the first pass is text-to-image
	extraNoise := when(o.ExtraNoise > 0, o.ExtraNoise)
	t.set("Downcast alphas_cumprod", when(o.DowncastAlphas, true))
	t.set("Noise Schedule", when(o.ZeroTerminalSNR, "Zero Terminal SNR"))
	if r.Init != nil {
		t.set("Noise multiplier", when(r.Init.NoiseMultiplier != 1, r.Init.NoiseMultiplier))
	}
	discards := !infoOf(r.Sampler).DiscardNextToLast
	labels := []string{schedule}
	if p.Hires != nil {
		discards = discards || !infoOf(p.Hires.sampler(p)).DiscardNextToLast
		labels = append(labels, p.Hires.schedule(p))
	}
	t.set("Discard penultimate sigma", when(o.DiscardNextToLast && discards, true))
	if schedule != "" {
		t.set("Schedule type", schedule)
	}
	if slices.ContainsFunc(labels, func(label string) bool { return label != "" }) {
		t.set("Schedule min sigma", nonZero(o.SigmaMin))
		t.set("Schedule max sigma", nonZero(o.SigmaMax))
	}
	if slices.ContainsFunc(labels, func(label string) bool { return takesRho(label, o.Rho) }) {
		t.set("Schedule rho", nonZero(o.Rho))
	}
	t.set("SGM noise multiplier", when(o.SGMNoiseMultiplier && fromNoise && usesScheduler(r.Sampler), true))
	t.set("Extra noise", when(!fromNoise, extraNoise))
	p.setArguments(t, r.Sampler)
	if refiner := p.Refiner; refiner != nil {
		t.set("Refiner switch by sampling steps", when(p.RefinerBySteps, true))
		t.set("Hires refiner", when(p.HiresRefiner != "", p.HiresRefiner))
		t.set("Refiner", refiner.Checkpoint)
		t.set("Refiner switch at", optional(refiner.SwitchAt))
	}
	t.set("Pad conds", when(s.PadConds, true))
	t.set("Pad conds v0", when(s.PadCondsV0, true))
	if p.Hires != nil {
		t.set("VAE Encoder", vae(s.VAEEncoder))
		t.set("Extra noise", extraNoise)
		p.setArguments(t, p.Hires.sampler(p))
	}
	t.set("VAE Decoder", vae(s.VAEDecoder))
	t.set("CFG Rescale", nonZero(o.CFGRescale))
	t.set("Step cache", nonZero(o.StepCache))
}

func vae(method string) any { return when(method != "Full", text(method)) }

// hashes joins names and hashes; a name counts once and loses the two characters
// that would break the list.
func hashes(list []Hash) string {
	var parts []string
	seen := map[string]bool{}
	for _, h := range list {
		name := strings.NewReplacer(":", "", ",", "").Replace(h.Name)
		if h.Hash == "" || seen[name] {
			continue
		}
		seen[name] = true
		parts = append(parts, name+": "+h.Hash)
	}
	return strings.Join(parts, ", ")
}

func anyAttention(texts []string) bool {
	for _, s := range texts {
		if strings.ContainsAny(s, "([") {
			return true
		}
	}
	return false
}

// table is a list of entries in which a key keeps the place it first had, as in
// a Python dict.
type table struct {
	entries []Entry
	at      map[string]int
}

func (t *table) set(key string, value any) {
	if t.at == nil {
		t.at = map[string]int{}
	}
	if i, ok := t.at[key]; ok {
		t.entries[i].Value = value
		return
	}
	t.at[key] = len(t.entries)
	t.entries = append(t.entries, Entry{key, value})
}

func when(present bool, value any) any {
	if !present {
		return nil
	}
	return value
}

func text(s string) any { return when(s != "", s) }

func nonZero(v float64) any { return when(v != 0, v) }

func optional[T any](v *T) any {
	if v == nil {
		return nil
	}
	return *v
}

func deref[T any](v *T) (value T) {
	if v != nil {
		value = *v
	}
	return value
}
