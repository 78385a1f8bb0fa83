package generation

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"sdworker/api/infotext"
	"sdworker/api/sdapi/exception"
	"sdworker/api/sdapi/options"
	"sdworker/api/sdapi/pyjson"
	"sdworker/fault"
	"sdworker/inference"
	"sdworker/internal/fileid"
	"sdworker/models"
	"sdworker/models/catalog"
)

// startCheckpoint puts Config.Checkpoint into the options.
func (s *Service) startCheckpoint() error {
	name := s.Config.Checkpoint
	if name == "" {
		return nil
	}
	c, ok := s.CheckpointAt(name)
	if !ok {
		c, ok = s.Config.Catalog.ClosestCheckpoint(name) // which knows exact names, too
	}
	if !ok {
		return fault.Errorf(fault.NotFound, "model", "no checkpoint is called %q; name a file, or one of the list of models", name)
	}
	return s.Options.Keep(pyjson.NewObject("sd_model_checkpoint", c.Title()))
}

// CheckpointAt finds a checkpoint that can be used by the path of its file.
func (s *Service) CheckpointAt(path string) (catalog.File, bool) {
	full, err := filepath.Abs(path)
	if err != nil {
		return catalog.File{}, false
	}
	all := s.Checkpoints()
	at := slices.IndexFunc(all, func(c catalog.File) bool { return c.Path == full })
	if at < 0 {
		return catalog.File{}, false
	}
	return all[at], true
}

// Checkpoints lists the checkpoints that can be used. Look-ups by name also
// find the others, so that a request for one of them fails with the reason.
func (s *Service) Checkpoints() []catalog.File {
	return s.Config.Catalog.Usable(s.Config.Catalog.Checkpoints())
}

// VAEs lists the VAEs that can be used.
func (s *Service) VAEs() []catalog.File { return s.Config.Catalog.Usable(s.Config.Catalog.VAEs()) }

// chosenCheckpoint is the checkpoint that the options name, or the default one if there is
// no such checkpoint, as in A1111.
func (s *Service) chosenCheckpoint(name string) (catalog.File, error) {
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
	c, ok := s.Config.Catalog.Default()
	if !ok {
		return catalog.File{}, exception.Crash("FileNotFoundError", "No checkpoints found. Fetch one with worker models pull, or put one into a model folder and refresh the checkpoints")
	}
	if name == "" {
		s.chosen.Store("", c)
	}
	return c, nil
}

// checkpoint finds a checkpoint by an exact name. One that is loaded is found
// even after its file was removed, because it still makes the same pictures.
func (s *Service) checkpoint(name string) (catalog.File, bool) {
	bare, _, _ := strings.Cut(name, " [")
	c, ok := s.Config.Catalog.Checkpoint(name)
	if !ok {
		return s.stillLoaded(bare)
	}
	s.chosen.Store(bare, c)
	return c, true
}

// stillLoaded returns the checkpoint that a name meant before its file was
// removed, if that checkpoint is loaded.
func (s *Service) stillLoaded(name string) (catalog.File, bool) {
	v, _ := s.chosen.Load(name)
	c, ok := v.(catalog.File)
	if !ok || s.Config.Queue.Generator().Status().Engine.Checkpoint != c.Path {
		return catalog.File{}, false
	}
	_, listed := s.CheckpointAt(c.Path)
	return c, !listed
}

// ChosenFiles are the checkpoint and the VAE that the options choose.
func (s *Service) ChosenFiles(o options.Values) (catalog.File, inference.Files, error) {
	c, err := s.chosenCheckpoint(o.Text("sd_model_checkpoint"))
	if err != nil {
		return catalog.File{}, inference.Files{}, err
	}
	files := inference.Files{Checkpoint: c.Path}
	if vae, ok := s.Config.Catalog.VAEFor(c, o.Text("sd_vae")); ok {
		files.VAE = vae.Path
	}
	return c, files, nil
}

// Hashes returns hashes of versions of model files. A [catalog.Catalog] does so; its
// methods say how they fail.
type Hashes interface {
	VersionSHA256(ctx context.Context, id fileid.ID) (string, error)
	LoRAHash(ctx context.Context, id fileid.ID) (string, error)
	EmbeddingHash(ctx context.Context, id fileid.ID) (string, error)
}

// readAhead returns an observer that hashes the model files of the job in the
// background. It begins when they are loaded, since loading needs the disk until
// then. It goes on after the request has ended, so that the next request finds the
// hashes.
func (c *Call) readAhead() inference.Observer {
	s := c.Service
	begin := sync.OnceFunc(func() {
		var ids []fileid.ID
		for _, path := range c.hashedFiles() {
			ids = append(ids, version(nil, path))
		}
		s.beside.Go(func() {
			for _, id := range ids {
				_, _ = s.Config.Hashes.VersionSHA256(s.working, id) // fillHashes asks again, and tells of errors
			}
		})
	})
	return func(e inference.Event) {
		if p := e.Job.Progress.Phase; p != "" && p != inference.PhaseLoading {
			begin()
		}
	}
}

// hashedFiles are the model files of the job whose sha256 the texts show.
func (c *Call) hashedFiles() []string {
	paths := []string{c.checkpoint.Path}
	if c.hires != nil && c.hires.checkpoint != nil {
		paths = append(paths, c.hires.checkpoint.Path)
	}
	if c.vae != nil {
		paths = append(paths, c.vae.Path)
	}
	return paths
}

// version is the version of a file that the generator used, or the present one if the
// generator does not report it.
func version(used []fileid.ID, path string) fileid.ID {
	if at := slices.IndexFunc(used, func(id fileid.ID) bool { return id.Path == path }); at >= 0 {
		return used[at]
	}
	id, err := fileid.Stat(path)
	if err != nil {
		return fileid.ID{Path: path} // the catalog says what is wrong
	}
	return id
}

// fileHashes are the hashes that texts carry beside those of the checkpoints.
type fileHashes struct {
	vae               string // short
	loras, embeddings []infotext.Hash
}

// fillHashes completes the call with hashes for its texts: those of the versions of
// the files that were used. What is not known when ctx ends stays empty, as in an
// A1111 that does not hash.
func (c *Call) fillHashes(ctx context.Context, res *inference.Result) {
	s, hashes := c.Service, c.Service.Config.Hashes
	type hash func(context.Context, fileid.ID) (string, error)
	sum := func(path string, hash hash) string { return s.sum(ctx, version(res.Files, path), hash) }
	list := func(names []string, files map[string]string, hash hash) []infotext.Hash {
		var out []infotext.Hash
		for _, name := range names {
			if path := files[name]; path != "" {
				out = append(out, infotext.Hash{Name: name, Hash: sum(path, hash)})
			}
		}
		return out
	}
	// Files with a hash in the list are asked for, too: that hash may be of an
	// earlier version.
	c.checkpoint.SHA256 = sum(c.checkpoint.Path, hashes.VersionSHA256)
	if c.hires != nil && c.hires.checkpoint != nil {
		c.hires.checkpoint.SHA256 = sum(c.hires.checkpoint.Path, hashes.VersionSHA256)
	}
	if c.vae != nil {
		digest := sum(c.vae.Path, hashes.VersionSHA256)
		c.hashes.vae = catalog.ShortHash(digest)
		if family, ok := models.ForeignVAE(digest); ok {
			c.Note("VAE %s is that of %s: it paints wrong colours with this checkpoint", pyjson.Quoted(c.vae.FileName()), family)
		}
	}
	if c.Options.Bool("lora_add_hashes_to_infotext") {
		c.hashes.loras = list(res.UsedLoRAs, c.Req.Files.LoRAs, hashes.LoRAHash)
	}
	if c.Options.Bool("textual_inversion_add_hashes_to_infotext") {
		c.hashes.embeddings = list(res.UsedEmbeddings, c.Req.Files.Embeddings, hashes.EmbeddingHash)
	}
	if ctx.Err() != nil {
		c.Note("model files are still being hashed; hashes that are not known yet are left out")
	}
}

// sum calls one of the catalog's hash functions. A hash is not worth a failed
// job, so an error only goes to the log.
func (s *Service) sum(ctx context.Context, id fileid.ID, hash func(context.Context, fileid.ID) (string, error)) string {
	sum, err := hash(ctx, id)
	if err != nil && ctx.Err() == nil {
		s.Config.Log.Warn().Err(err).Str("file", id.Path).Msg("a model file cannot be hashed")
	}
	return sum
}

// Embeddings lists the textual inversions whose number of vectors is known, of
// every model family: A1111's list also names those that do not fit.
func (s *Service) Embeddings() []catalog.EmbeddingFile {
	return slices.DeleteFunc(s.Config.Catalog.Embeddings(), func(e catalog.EmbeddingFile) bool { return e.Content.Vectors == 0 })
}
