package infotext

import "fmt"

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

// hiresKeys set fields of the second pass.
var hiresKeys = []target{
	{"Hires upscale", "hr_scale", toFloat},
	{"Hires upscaler", "hr_upscaler", toText},
	{"Hires steps", "hr_second_pass_steps", toInt},
	{"Hires resize-1", "hr_resize_x", toInt},
	{"Hires resize-2", "hr_resize_y", toInt},
	{"Hires prompt", "hr_prompt", toText},
	{"Hires negative prompt", "hr_negative_prompt", toText},
}

// Values that stand for "as in the first pass".
const (
	sameSampler    = "Use same sampler"
	sameScheduler  = "Use same scheduler"
	sameCheckpoint = "Use same checkpoint"
)

func (f Fields) hiresSampler() (name, scheduler string) {
	name, scheduler = f.text("Hires sampler"), f.text("Hires schedule type")
	if name == sameSampler {
		name = f.text("Sampler")
	}
	if scheduler == sameScheduler {
		scheduler = f.text("Schedule type")
	}
	return splitSampler(name, scheduler)
}

// setHires tells whether there is a second pass, and what it does in another way than
// the first one.
func (f Fields) setHires(fields map[string]any) {
	_, strength := f["Denoising strength"]
	fields["enable_hr"] = strength && (f.has("Hires upscale") || f.has("Hires upscaler") || f.has("Hires resize-1"))
	if name := f.text("Hires checkpoint"); name != sameCheckpoint {
		fields["hr_checkpoint_name"] = name
	}
	name, scheduler := f.hiresSampler()
	setUnless(fields, "hr_sampler_name", name, f.text("Sampler"))
	setUnless(fields, "hr_scheduler", scheduler, f.text("Schedule type"))
}
