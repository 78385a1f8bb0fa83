package sdapi

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	"sdworker/api/sdapi/options"
	"sdworker/api/sdapi/pyjson"
	"sdworker/api/sdapi/schema"
	"sdworker/fault"
	"sdworker/inference"
	"sdworker/inference/imageio"
	"sdworker/inference/sampler"
	"sdworker/models/catalog"
)

// call is a generation request on its way through the server.
type call struct {
	server *Server
	tab    *tab
	id     string // task id
	in     fields // what is echoed; override_settings may lose entries
	opts   options.Values
	scriptCall

	req        *inference.Request
	checkpoint catalog.File
	vae        *catalog.File
	hashes     fileHashes
	sampler    sampler.Info
	scheduler  *string // as the request sent it
	hires      *hiresFacts
	width      int // as requested
	height     int
	styles     []string
	faces      bool // restore_faces, which is not done
	notes      []string
	arrived    time.Time

	mask *imageio.Decoded

	expansion *expanded // of templates; nil without
	parts     []*call   // the calls that the expansion takes
	batch     int       // of the pictures that this one is a part of, from 1; 0 = a batch of its own
	origin    *call     // that this one was derived from by a script; nil without
}

// tab is one of the two generation routes.
type tab struct {
	name  string // "txt2img" or "img2img"
	model *schema.Model
	build func(*call, context.Context) error // what only this route has
}

var (
	txt2img = &tab{"txt2img", &schema.Txt2Img, (*call).buildTxt2Img}
	img2img = &tab{"img2img", &schema.Img2Img, (*call).buildImg2Img}
)

// generate handles POST /sdapi/v1/txt2img and img2img.
func (s *Server) generate(t *tab) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		place, err := s.cfg.Queue.Reserve(r.Context()) // before the body costs memory
		if err != nil {
			return err
		}
		defer place.Release()
		in, err := s.readModel(r, t.model)
		if err != nil {
			return err
		}
		c, err := s.prepare(r.Context(), t, in, s.options.Values())
		if err != nil {
			return err
		}
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		out, err := c.run(ctx, place)
		if err != nil {
			return err
		}
		hashing, done := context.WithTimeout(ctx, s.cfg.HashWait)
		defer done()
		for _, r := range out.runs {
			r.call.fillHashes(hashing, r.result)
		}
		body, err := c.reply(ctx, out)
		if err != nil {
			return err
		}
		w.Header().Set("Server-Timing", serverTiming(out.timings()))
		writePlain(w, http.StatusOK, "application/json", body)
		return nil
	}
}

// prepare checks a request in A1111's order and completes it. After it nothing
// can fail because of the request, or of the options.
func (s *Server) prepare(ctx context.Context, t *tab, in schema.Values, opts options.Values) (*call, error) {
	if !pyjson.Finite(in.Object) { // the echo could not be written
		return nil, pyjson.ErrNotFinite
	}
	for _, name := range []string{"prompt", "negative_prompt", "hr_prompt", "hr_negative_prompt", "infotext"} {
		// Before styles, comments and tags are looked for in it.
		if text, _ := in.Get(name); len(textOf(text)) > inference.MaxPromptBytes {
			return nil, fault.FieldError(name, "%s has %d bytes, want at most %d", name, len(textOf(text)), inference.MaxPromptBytes)
		}
	}
	c := &call{server: s, tab: t, in: fields{Values: in}, opts: opts, arrived: s.cfg.Now()}
	if err := c.admit(); err != nil {
		return nil, err
	}
	if t == img2img {
		if v, _ := in.Get("init_images"); v == nil {
			return nil, refuse(http.StatusNotFound, "Init image not found")
		}
		if mask := c.in.text("mask"); mask != "" {
			m, _, err := s.picture(ctx, mask, c.opts)
			if err != nil {
				return nil, err
			}
			c.mask = &m
		}
	}
	if err := c.pasteInfotext(); err != nil {
		return nil, err
	}
	if err := c.chooseScript(); err != nil {
		return nil, err
	}
	if err := c.chooseSampler(); err != nil {
		return nil, err
	}
	if err := c.readAlwaysOn(ctx); err != nil {
		return nil, err
	}
	if err := c.override(); err != nil {
		return nil, err
	}
	if err := c.build(ctx); err != nil {
		return nil, err
	}
	if err := c.expand(); err != nil {
		return nil, err
	}
	return c, nil
}

// admit refuses pictures that the device has no memory for, as far as that is known
// before a checkpoint is loaded and the request's pictures are decoded.
func (c *call) admit() error {
	if strings.EqualFold(c.in.text("script_name"), ultimateName) {
		return nil // it paints in parts, which are looked at when they are known
	}
	w, h := c.in.wholeOr("width", 0), c.in.wholeOr("height", 0)
	if w < 1 || h < 1 || w > inference.MaxSide || h > inference.MaxSide {
		return nil // told later, in A1111's order
	}
	return c.server.cfg.Queue.Generator().Status().Engine.Admit(w, h, 0)
}

// textOf is v if it is a text.
func textOf(v any) string {
	s, _ := v.(string)
	return s
}

// chooseSampler resolves sampler_name and sampler_index to an exact name.
func (c *call) chooseSampler() error {
	name := c.in.text("sampler_name")
	if name == "" {
		name = c.in.text("sampler_index")
	}
	info, err := sampler.Find(name)
	if err != nil {
		return refuse(http.StatusNotFound, "Sampler not found")
	}
	c.sampler = info
	c.scheduler = c.in.maybeText("scheduler")
	return nil
}

// override puts override_settings over the options of this job. A checkpoint
// that does not exist is ignored and vanishes from the echo, as in A1111.
func (c *call) override() error {
	sent := c.in.object("override_settings")
	if sent == nil {
		return nil
	}
	if name, ok := sent.Get("sd_model_checkpoint"); ok && name != nil {
		text, _ := name.(string)
		if _, found := c.server.checkpoint(text); !found {
			sent = sent.Clone()
			sent.Delete("sd_model_checkpoint")
			c.in.Set("override_settings", sent)
			c.note("checkpoint %s of override_settings was not found and is ignored", quoted(text))
		}
	} else if ok {
		sent = sent.Clone()
		sent.Delete("sd_model_checkpoint")
	}
	opts, err := c.opts.With(sent)
	if err != nil {
		if list, ok := errors.AsType[schema.Errors](err); ok {
			return crash("TypeError", "override_settings: %s: %s", list[0].Loc[1], list[0].Msg)
		}
		return err
	}
	c.opts = opts
	return nil
}

// keepOverrides leaves the overrides in force for later jobs, which is what
// override_settings_restore_afterwards false asks for.
func (c *call) keepOverrides() error {
	sent := c.in.object("override_settings")
	if sent == nil || c.in.flag("override_settings_restore_afterwards", false) {
		return nil
	}
	return c.server.options.Keep(sent)
}

// run waits for the queue's turn and makes the pictures.
func (c *call) run(ctx context.Context, place *inference.Place) (*outcome, error) {
	defer c.server.finished.add(c.id)
	job := inference.Job{ID: c.id, Name: c.tab.name, Observer: c.readAhead()}
	work := usual
	switch {
	case c.script != nil:
		work = c.script.run()
	case c.parts != nil:
		work = makeParts
	}
	res, err := work(ctx, c, place, job)
	if err != nil {
		return nil, err
	}
	return res, c.keepOverrides()
}

// usual is what a job does without a script.
func usual(ctx context.Context, c *call, place *inference.Place, job inference.Job) (*outcome, error) {
	if err := c.takeResult(ctx, 1); err != nil {
		return nil, err
	}
	if c.wantsGrid() {
		if err := takeGrids(ctx, c.req.Images(), 0, c); err != nil {
			return nil, err
		}
	}
	res, err := place.Generate(ctx, job, c.req)
	return &outcome{runs: []run{{c, res}}}, err
}

func (c *call) note(format string, args ...any) {
	c.notes = append(c.notes, fmt.Sprintf(format, args...))
}

// noteUnknownSchedule tells of a schedule that is not here: A1111 takes the model's own noise
// levels for it, and the picture is another one than was asked for.
func (c *call) noteUnknownSchedule(of sampler.Info, name string) {
	if _, ok := sampler.FindScheduler(name); !ok && name != "" && of.UsesScheduler() {
		c.note("there is no schedule %s; the noise levels of the model are used", quoted(name))
	}
}

// taskID is the id of a job that the client did not name: A1111's form, with 7
// of 36 characters.
func taskID(name string) string {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	var b strings.Builder
	for n := rand.Uint64(); b.Len() < 7; n /= uint64(len(letters)) {
		b.WriteByte(letters[n%uint64(len(letters))])
	}
	return "task(" + name + "-" + b.String() + ")"
}
