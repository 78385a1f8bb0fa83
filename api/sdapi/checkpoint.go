package sdapi

import (
	"context"
	"path/filepath"
	"slices"
	"strings"

	"sdworker/api/sdapi/options"
	"sdworker/api/sdapi/pyjson"
	"sdworker/inference"
)

// startCheckpoint puts Config.Checkpoint into the options.
func (s *Server) startCheckpoint() error {
	name := s.cfg.Checkpoint
	if name == "" {
		return nil
	}
	c, ok := s.checkpointAt(name)
	if !ok {
		c, ok = s.cfg.Catalog.ClosestCheckpoint(name)
	}
	if !ok {
		return inference.Errorf(inference.NotFound, "model", "no checkpoint is called %q; name a file, or one of the list of models", name)
	}
	return s.options.Keep(pyjson.NewObject("sd_model_checkpoint", c.Title))
}

func (s *Server) checkpointAt(path string) (Checkpoint, bool) {
	full, err := filepath.Abs(path)
	if err != nil {
		return Checkpoint{}, false
	}
	all := s.cfg.Catalog.Checkpoints()
	at := slices.IndexFunc(all, func(c Checkpoint) bool { return c.Path == full })
	if at < 0 {
		return Checkpoint{}, false
	}
	return all[at], true
}

// chosenCheckpoint is the checkpoint of the options, or the first one when they
// name none that exists, as A1111 falls back.
func (s *Server) chosenCheckpoint(name string) (Checkpoint, error) {
	if name != "" {
		if c, ok := s.cfg.Catalog.Checkpoint(name); ok {
			return c, nil
		}
		// A title from before the file was hashed, or from before it changed.
		bare, _, _ := strings.Cut(name, " [")
		if c, ok := s.cfg.Catalog.Checkpoint(bare); ok {
			return c, nil
		}
	}
	all := s.cfg.Catalog.Checkpoints()
	if len(all) == 0 {
		return Checkpoint{}, crash("FileNotFoundError", "No checkpoints found. Put one into a model folder and refresh the checkpoints")
	}
	return all[0], nil
}

// chosenFiles are checkpoint and VAE of the options.
func (s *Server) chosenFiles(o options.Values) (Checkpoint, inference.Files, error) {
	c, err := s.chosenCheckpoint(o.Text("sd_model_checkpoint"))
	if err != nil {
		return Checkpoint{}, inference.Files{}, err
	}
	files := inference.Files{Checkpoint: c.Path}
	if vae, ok := s.cfg.Catalog.VAEFor(c, o.Text("sd_vae")); ok {
		files.VAE = vae.Path
	}
	return c, files, nil
}

// hashed returns the checkpoint with its hash. It waits for the file to be read
// when it was not hashed before; a file that cannot be read has none.
func (s *Server) hashed(ctx context.Context, c Checkpoint) Checkpoint {
	if c.SHA256 == "" {
		c.SHA256 = s.sum(ctx, c.Path, s.cfg.Catalog.SHA256)
	}
	return c
}

// sum calls one of the catalog's hash functions. A hash is not worth a failed
// job, so an error only goes to the log.
func (s *Server) sum(ctx context.Context, path string, hash func(context.Context, string) (string, error)) string {
	sum, err := hash(ctx, path)
	if err != nil && ctx.Err() == nil {
		s.cfg.Log.Warn().Err(err).Str("file", path).Msg("a model file cannot be hashed")
	}
	return sum
}
