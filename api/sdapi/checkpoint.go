package sdapi

import (
	"path/filepath"
	"slices"
	"strings"

	"sdworker/api/sdapi/options"
	"sdworker/api/sdapi/pyjson"
	"sdworker/fault"
	"sdworker/inference"
	"sdworker/models/catalog"
)

// startCheckpoint puts Config.Checkpoint into the options.
func (s *Server) startCheckpoint() error {
	name := s.cfg.Checkpoint
	if name == "" {
		return nil
	}
	c, ok := s.checkpointAt(name)
	if !ok {
		c, ok = s.cfg.Catalog.ClosestCheckpoint(name) // which knows exact names, too
	}
	if !ok {
		return fault.Errorf(fault.NotFound, "model", "no checkpoint is called %q; name a file, or one of the list of models", name)
	}
	return s.options.Keep(pyjson.NewObject("sd_model_checkpoint", c.Title()))
}

func (s *Server) checkpointAt(path string) (catalog.File, bool) {
	full, err := filepath.Abs(path)
	if err != nil {
		return catalog.File{}, false
	}
	all := s.checkpoints()
	at := slices.IndexFunc(all, func(c catalog.File) bool { return c.Path == full })
	if at < 0 {
		return catalog.File{}, false
	}
	return all[at], true
}

// checkpoints lists the checkpoints that can be used. Look-ups by name also
// find the others, so that a request for one of them fails with the reason.
func (s *Server) checkpoints() []catalog.File {
	return s.cfg.Catalog.Usable(s.cfg.Catalog.Checkpoints())
}

func (s *Server) vaes() []catalog.File { return s.cfg.Catalog.Usable(s.cfg.Catalog.VAEs()) }

// chosenCheckpoint is the checkpoint of the options, or the default one when they
// name none that exists, as A1111 falls back.
func (s *Server) chosenCheckpoint(name string) (catalog.File, error) {
	if name != "" {
		if c, ok := s.checkpoint(name); ok {
			return c, nil
		}
		// A title from before the file was hashed, or from before it changed.
		bare, _, _ := strings.Cut(name, " [")
		if c, ok := s.checkpoint(bare); ok {
			return c, nil
		}
	}
	if c, ok := s.stillLoaded(""); ok {
		return c, nil
	}
	c, ok := s.cfg.Catalog.Default()
	if !ok {
		return catalog.File{}, crash("FileNotFoundError", "No checkpoints found. Fetch one with worker models pull, or put one into a model folder and refresh the checkpoints")
	}
	if name == "" {
		s.chosen.Store("", c)
	}
	return c, nil
}

// checkpoint finds a checkpoint by an exact name. One that is loaded is found
// even after its file was removed, because it still makes the same pictures.
func (s *Server) checkpoint(name string) (catalog.File, bool) {
	bare, _, _ := strings.Cut(name, " [")
	c, ok := s.cfg.Catalog.Checkpoint(name)
	if !ok {
		return s.stillLoaded(bare)
	}
	s.chosen.Store(bare, c)
	return c, true
}

// stillLoaded returns the checkpoint that a name meant before its file was
// removed, if that checkpoint is loaded.
func (s *Server) stillLoaded(name string) (catalog.File, bool) {
	v, _ := s.chosen.Load(name)
	c, ok := v.(catalog.File)
	if !ok || s.cfg.Queue.Generator().Status().Engine.Checkpoint != c.Path {
		return catalog.File{}, false
	}
	_, listed := s.checkpointAt(c.Path)
	return c, !listed
}

// chosenFiles are checkpoint and VAE of the options.
func (s *Server) chosenFiles(o options.Values) (catalog.File, inference.Files, error) {
	c, err := s.chosenCheckpoint(o.Text("sd_model_checkpoint"))
	if err != nil {
		return catalog.File{}, inference.Files{}, err
	}
	files := inference.Files{Checkpoint: c.Path}
	if vae, ok := s.cfg.Catalog.VAEFor(c, o.Text("sd_vae")); ok {
		files.VAE = vae.Path
	}
	return c, files, nil
}
