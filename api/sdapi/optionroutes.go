package sdapi

import (
	"context"
	"net/http"
	"reflect"

	"sdworker/api/sdapi/options"
	"sdworker/api/sdapi/pyjson"
	"sdworker/inference"
)

// getOptions handles GET /sdapi/v1/options.
func (s *Server) getOptions(*http.Request) (any, error) {
	o := s.options.Values()
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
	c, ok := s.checkpointAt(path)
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
	sent, err := s.readObject(r)
	if err != nil {
		return nil, err
	}
	if name, _ := sent.Get("sd_model_checkpoint"); name != nil {
		text, _ := name.(string)
		c, ok := s.cfg.Catalog.Checkpoint(text)
		if !ok {
			return nil, crash("RuntimeError", "model %s not found", repr(name))
		}
		sent = sent.Clone()
		sent.Set("sd_model_checkpoint", c.Title())
	}
	before := s.options.Values()
	if err := s.options.Save(sent); err != nil {
		return nil, err
	}
	after := s.options.Values()
	same := func(name string) bool { return reflect.DeepEqual(before.Get(name), after.Get(name)) }
	if same("sd_model_checkpoint") && same("sd_vae") {
		return nil, nil
	}
	if err := s.load(r.Context()); err != nil {
		undo := pyjson.NewObject("sd_model_checkpoint", before.Get("sd_model_checkpoint"), "sd_vae", before.Get("sd_vae"))
		if undoErr := s.options.Save(undo); undoErr != nil {
			s.cfg.Log.Error().Err(undoErr).Msg("options cannot be put back")
		}
		return nil, err
	}
	return nil, nil
}

// load makes the checkpoint and VAE of the options ready, in a turn of the queue.
func (s *Server) load(ctx context.Context) error {
	_, files, err := s.chosenFiles(s.options.Values())
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
		return quoted(s)
	}
	text, _ := pyjson.Marshal(v, pyjson.Dumps)
	return string(text)
}
