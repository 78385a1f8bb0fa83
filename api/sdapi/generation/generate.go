package generation

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"sdworker/api/sdapi/exception"
	"sdworker/api/sdapi/fastapi"
	"sdworker/api/sdapi/options"
	"sdworker/api/sdapi/pyjson"
	"sdworker/api/sdapi/request"
	"sdworker/api/sdapi/schema"
	"sdworker/fault"
	"sdworker/inference"
	"sdworker/inference/imageio"
	"sdworker/inference/sampler"
	"sdworker/models/catalog"
)

// Call is a generation request on its way through the server.
type Call struct {
	Service *Service
	Tab     *Tab
	id      string         // task id
	In      request.Fields // what is echoed; override_settings may lose entries
	Options options.Values
	scriptCall

	Req        *inference.Request
	checkpoint catalog.File
	vae        *catalog.File
	hashes     fileHashes
	sampler    sampler.Info
	scheduler  *string // as the request sent it
	hires      *hiresFacts
	Width      int // as requested
	Height     int
	styles     []string
	faces      bool // restore_faces, which is not done
	Notes      []string
	arrived    time.Time

	mask *imageio.Decoded

	expansion *Expanded // of templates; nil without
	parts     []*Call   // the calls that the expansion takes
	batch     int       // of the pictures that this one is a part of, from 1; 0 = a batch of its own
	origin    *Call     // that this one was derived from by a script; nil without
}

// Tab is one of the two generation routes.
type Tab struct {
	Name  string // "txt2img" or "img2img"
	Model *schema.Model
	build func(*Call, context.Context) error // what only this route has
}

// The two tabs of A1111 that make pictures.
var (
	Txt2Img = &Tab{"txt2img", &schema.Txt2Img, (*Call).buildTxt2Img}
	Img2Img = &Tab{"img2img", &schema.Img2Img, (*Call).buildImg2Img}
)

// Generate handles POST /sdapi/v1/txt2img and img2img.
func (s *Service) Generate(t *Tab) fastapi.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		place, err := s.Config.Queue.Reserve(r.Context()) // before the body costs memory
		if err != nil {
			return err
		}
		defer place.Release()
		in, err := fastapi.ReadModel(r, t.Model)
		if err != nil {
			return err
		}
		c, err := s.Prepare(r.Context(), t, in, s.Options.Values())
		if err != nil {
			return err
		}
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		out, err := c.run(ctx, place)
		if err != nil {
			return err
		}
		hashing, done := context.WithTimeout(ctx, s.Config.HashWait)
		defer done()
		for _, r := range out.Runs {
			r.Call.fillHashes(hashing, r.Result)
		}
		body, err := c.reply(ctx, out)
		if err != nil {
			return err
		}
		w.Header().Set("Server-Timing", serverTiming(out.timings()))
		fastapi.WritePlain(w, http.StatusOK, "application/json", body)
		return nil
	}
}

// Prepare checks a request in A1111's order and completes it. After it nothing
// can fail because of the request, or of the options.
func (s *Service) Prepare(ctx context.Context, t *Tab, in schema.Values, opts options.Values) (*Call, error) {
	if !pyjson.Finite(in.Object) { // the echo could not be written
		return nil, pyjson.ErrNotFinite
	}
	for _, name := range []string{"prompt", "negative_prompt", "hr_prompt", "hr_negative_prompt", "infotext"} {
		// Before styles, comments and tags are looked for in it.
		if text, _ := in.Get(name); len(textOf(text)) > inference.MaxPromptBytes {
			return nil, fault.FieldError(name, "%s has %d bytes, want at most %d", name, len(textOf(text)), inference.MaxPromptBytes)
		}
	}
	c := &Call{Service: s, Tab: t, In: request.Fields{Values: in}, Options: opts, arrived: s.Config.Now()}
	if err := c.admit(); err != nil {
		return nil, err
	}
	if t == Img2Img {
		if v, _ := in.Get("init_images"); v == nil {
			return nil, exception.Refuse(http.StatusNotFound, "Init image not found")
		}
		if mask := c.In.Text("mask"); mask != "" {
			m, _, err := s.Reader.One(ctx, mask, c.Options)
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
func (c *Call) admit() error {
	if s := findScript(c.Service.Scripts(), c.Tab, c.In.Text("script_name")); s != nil && s.Tiles {
		return nil // its parts are looked at when they are known
	}
	w, h := c.In.WholeOr("width", 0), c.In.WholeOr("height", 0)
	if w < 1 || h < 1 || w > inference.MaxSide || h > inference.MaxSide {
		return nil // told later, in A1111's order
	}
	return c.Service.Config.Queue.Generator().Status().Engine.Admit(w, h, 0)
}

// textOf is v if it is a text.
func textOf(v any) string {
	s, _ := v.(string)
	return s
}

// chooseSampler resolves sampler_name and sampler_index to an exact name.
func (c *Call) chooseSampler() error {
	name := c.In.Text("sampler_name")
	if name == "" {
		name = c.In.Text("sampler_index")
	}
	info, err := sampler.Find(name)
	if err != nil {
		return exception.Refuse(http.StatusNotFound, "Sampler not found")
	}
	c.sampler = info
	c.scheduler = c.In.MaybeText("scheduler")
	return nil
}

// override puts override_settings over the options of this job. A checkpoint
// that does not exist is ignored and vanishes from the echo, as in A1111.
func (c *Call) override() error {
	sent := c.In.Dict("override_settings")
	if sent == nil {
		return nil
	}
	if name, ok := sent.Get("sd_model_checkpoint"); ok && name != nil {
		text, _ := name.(string)
		if _, found := c.Service.checkpoint(text); !found {
			sent = sent.Clone()
			sent.Delete("sd_model_checkpoint")
			c.In.Set("override_settings", sent)
			c.Note("checkpoint %s of override_settings was not found and is ignored", pyjson.Quoted(text))
		}
	} else if ok {
		sent = sent.Clone()
		sent.Delete("sd_model_checkpoint")
	}
	opts, err := c.Options.With(sent)
	if err != nil {
		if list, ok := errors.AsType[schema.Errors](err); ok {
			return exception.Crash("TypeError", "override_settings: %s: %s", list[0].Loc[1], list[0].Msg)
		}
		return err
	}
	c.Options = opts
	return nil
}

// keepOverrides leaves the overrides in force for later jobs, which is what
// override_settings_restore_afterwards false asks for.
func (c *Call) keepOverrides() error {
	sent := c.In.Dict("override_settings")
	if sent == nil || c.In.Flag("override_settings_restore_afterwards", false) {
		return nil
	}
	return c.Service.Options.Keep(sent)
}

// run waits for the queue's turn and makes the pictures.
func (c *Call) run(ctx context.Context, place *inference.Place) (*Outcome, error) {
	defer c.Service.finished.add(c.id)
	job := inference.Job{ID: c.id, Name: c.Tab.Name, Observer: c.readAhead()}
	work := usual
	switch {
	case c.Script != nil:
		work = c.Script.Run
	case c.parts != nil:
		work = makeParts
	}
	res, err := work(ctx, c, place, job)
	if err != nil {
		return nil, err
	}
	return res, c.keepOverrides()
}

// usual runs a job without a script.
func usual(ctx context.Context, c *Call, place *inference.Place, job inference.Job) (*Outcome, error) {
	if err := c.TakeResult(ctx, 1); err != nil {
		return nil, err
	}
	if c.wantsGrid() {
		if err := TakeGrids(ctx, c.Req.Images(), 0, c); err != nil {
			return nil, err
		}
	}
	res, err := place.Generate(ctx, job, c.Req)
	return &Outcome{Runs: []Run{{c, res}}}, err
}

// Note adds a sentence to those that the reply has beside the pictures.
func (c *Call) Note(format string, args ...any) {
	c.Notes = append(c.Notes, fmt.Sprintf(format, args...))
}

// noteUnknownSchedule notes that a schedule does not exist here. A1111 then takes the
// model's own noise levels, so the picture is not the one that was asked for.
func (c *Call) noteUnknownSchedule(of sampler.Info, name string) {
	if _, ok := sampler.FindScheduler(name); !ok && name != "" && of.UsesScheduler() {
		c.Note("there is no schedule %s; the noise levels of the model are used", pyjson.Quoted(name))
	}
}

// TaskID is the id of a job that the client did not name: A1111's form, with 7
// of 36 characters.
func TaskID(name string) string {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	var b strings.Builder
	for n := rand.Uint64(); b.Len() < 7; n /= uint64(len(letters)) {
		b.WriteByte(letters[n%uint64(len(letters))])
	}
	return "task(" + name + "-" + b.String() + ")"
}

// finishedTasks remembers the ids of the last jobs.
type finishedTasks struct {
	mu  sync.Mutex
	ids []string
}

// rememberedTasks is how many finished tasks A1111 knows.
const rememberedTasks = 16

func (f *finishedTasks) add(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ids = append(f.ids, id)
	if len(f.ids) > rememberedTasks {
		f.ids = slices.Delete(f.ids, 0, 1)
	}
}

func (f *finishedTasks) has(id string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return id != "" && slices.Contains(f.ids, id)
}
