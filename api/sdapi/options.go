package sdapi

import (
	"context"
	"encoding/base64"
	"net/http"
	"reflect"
	"sync"

	"sdworker/api/sdapi/exception"
	"sdworker/api/sdapi/fastapi"
	"sdworker/api/sdapi/generation"
	"sdworker/api/sdapi/options"
	"sdworker/api/sdapi/pyjson"
	"sdworker/fault"
	"sdworker/inference"
	"sdworker/inference/imageio"
)

// getOptions handles GET /sdapi/v1/options.
func (s *Server) getOptions(*http.Request) (any, error) {
	o := s.Options.Values()
	out := pyjson.NewObject()
	for i := range options.Table.Fields {
		name := options.Table.Fields[i].Name
		out.Set(name, o.Get(name))
	}
	s.showLoaded(out)
	return out, nil
}

// showLoaded gives the chosen checkpoint the title that it has now, and fills in
// the loaded one where the options leave it open, as A1111 does once it has
// loaded one.
func (s *Server) showLoaded(out *pyjson.Object) {
	chosen, _ := out.Get("sd_model_checkpoint")
	if name, ok := chosen.(string); ok {
		if c, ok := s.cfg.Catalog.Checkpoint(name); ok {
			out.Set("sd_model_checkpoint", c.Title())
		}
	}
	path := s.cfg.Queue.Generator().Status().Engine.Checkpoint
	if path == "" {
		return
	}
	c, ok := s.CheckpointAt(path)
	if !ok {
		return
	}
	if chosen == nil {
		out.Set("sd_model_checkpoint", c.Title())
	}
	out.Set("sd_checkpoint_hash", c.SHA256)
}

// setOptions handles POST /sdapi/v1/options. A new checkpoint or VAE is loaded
// before the reply; when that fails, the options stay as they were.
func (s *Server) setOptions(r *http.Request) (any, error) {
	sent, err := fastapi.ReadObject(r)
	if err != nil {
		return nil, err
	}
	if name, _ := sent.Get("sd_model_checkpoint"); name != nil {
		text, _ := name.(string)
		c, ok := s.cfg.Catalog.Checkpoint(text)
		if !ok {
			return nil, exception.Crash("RuntimeError", "model %s not found", repr(name))
		}
		sent = sent.Clone()
		sent.Set("sd_model_checkpoint", c.Title())
	}
	if err := s.judgeOptions(r.Context(), sent); err != nil {
		return nil, err
	}
	before := s.Options.Values()
	if err := s.Options.Save(sent); err != nil {
		return nil, generation.Unwritten(err)
	}
	after := s.Options.Values()
	same := func(name string) bool { return reflect.DeepEqual(before.Get(name), after.Get(name)) }
	if same("sd_model_checkpoint") && same("sd_vae") {
		return nil, nil
	}
	if err := s.load(r.Context()); err != nil {
		undo := pyjson.NewObject("sd_model_checkpoint", before.Get("sd_model_checkpoint"), "sd_vae", before.Get("sd_vae"))
		if undoErr := s.Options.Save(undo); undoErr != nil {
			s.cfg.Log.Error().Err(undoErr).Msg("options cannot be put back")
		}
		return nil, err
	}
	return nil, nil
}

// judgeOptions refuses options with which requests could no longer be answered that say
// nothing beyond the least: they would spoil the jobs of everyone. The checkpoint and the
// VAE are left to the load.
func (s *Server) judgeOptions(ctx context.Context, sent *pyjson.Object) error {
	sent = sent.Clone()
	sent.Delete("sd_model_checkpoint")
	sent.Delete("sd_vae")
	next, err := s.Options.With(sent)
	if err != nil {
		return err
	}
	for _, t := range generation.BothTabs {
		if why := s.tryOptions(ctx, t, next); why != nil && s.tryOptions(ctx, t, s.Options.Values()) == nil {
			return exception.Refuse(http.StatusUnprocessableEntity, "no picture could be made with these options: %s", fault.Message(why))
		}
	}
	return nil
}

// tryOptions prepares the least request, and drops it.
func (s *Server) tryOptions(ctx context.Context, t *generation.Tab, o options.Values) error {
	in, err := t.Model.Read(pyjson.NewObject("width", int64(inference.LatentScale), "height", int64(inference.LatentScale), "init_images", []any{dot()}))
	if err != nil {
		return err
	}
	_, err = s.Prepare(ctx, t, in, o)
	return err
}

// dot is the file of a picture of one pixel in base64.
var dot = sync.OnceValue(func() string {
	file, err := imageio.EncodePNG(imageio.NewRGB(1, 1))
	if err != nil {
		panic(err) // it depends on nothing
	}
	return base64.StdEncoding.EncodeToString(file)
})

// load makes the checkpoint and VAE of the options ready, in a turn of the queue.
func (s *Server) load(ctx context.Context) error {
	_, files, err := s.ChosenFiles(s.Options.Values())
	if err != nil {
		return err
	}
	return s.cfg.Queue.Do(ctx, inference.Job{Name: "load model"}, func(ctx context.Context, gen inference.Generator, hooks inference.Hooks) error {
		return gen.Load(ctx, files, hooks)
	})
}

// unload handles POST /sdapi/v1/unload-checkpoint.
func (s *Server) unload(r *http.Request) (any, error) {
	err := s.cfg.Queue.Do(r.Context(), inference.Job{Name: "unload model"}, func(ctx context.Context, gen inference.Generator, _ inference.Hooks) error {
		return gen.Unload(ctx)
	})
	return empty, err
}

// reload handles POST /sdapi/v1/reload-checkpoint.
func (s *Server) reload(r *http.Request) (any, error) {
	return empty, s.load(r.Context())
}

// repr is Python's repr of a JSON value, for error texts.
func repr(v any) string {
	if s, ok := v.(string); ok {
		return pyjson.Quoted(s)
	}
	text, _ := pyjson.Marshal(v, pyjson.Dumps)
	return string(text)
}
