package sdapi

import (
	"context"
	"sync"

	"sdworker/api/infotext"
	"sdworker/inference"
)

// readAhead returns a hook that has the model files of the job hashed beside it.
// It does so once they are loaded: before, the disk is needed for that. What was
// begun goes on when the request ends, for the next one.
func (c *call) readAhead() func(inference.Progress) {
	s := c.server
	paths := c.unhashed()
	begin := sync.OnceFunc(func() {
		s.beside.Go(func() {
			for _, path := range paths {
				_, _ = s.cfg.Catalog.SHA256(s.working, path) // fillHashes asks again, and tells of errors
			}
		})
	})
	return func(p inference.Progress) {
		if len(paths) > 0 && p.Phase != "" && p.Phase != inference.PhaseLoading {
			begin()
		}
	}
}

// unhashed are the model files of the job whose sha256 the catalog has not told.
func (c *call) unhashed() []string {
	var paths []string
	if c.checkpoint.SHA256 == "" {
		paths = append(paths, c.checkpoint.Path)
	}
	if c.hires != nil && c.hires.checkpoint != nil && c.hires.checkpoint.SHA256 == "" {
		paths = append(paths, c.hires.checkpoint.Path)
	}
	if c.vae != nil {
		paths = append(paths, c.vae.Path)
	}
	return paths
}

// fileHashes are the hashes that texts carry beside those of the checkpoints.
type fileHashes struct {
	vae               string // short
	loras, embeddings []infotext.Hash
}

// fillHashes completes the call with hashes for its texts. What is not known when
// ctx ends stays empty, as in an A1111 that does not hash.
func (c *call) fillHashes(ctx context.Context, res *inference.Result) {
	s, catalog := c.server, c.server.cfg.Catalog
	fill := func(sum *string, path string, hash func(context.Context, string) (string, error)) {
		if *sum == "" {
			*sum = s.sum(ctx, path, hash)
		}
	}
	list := func(names []string, files map[string]string, hash func(context.Context, string) (string, error)) []infotext.Hash {
		var out []infotext.Hash
		for _, name := range names {
			if path := files[name]; path != "" {
				out = append(out, infotext.Hash{Name: name, Hash: s.sum(ctx, path, hash)})
			}
		}
		return out
	}
	fill(&c.checkpoint.SHA256, c.checkpoint.Path, catalog.SHA256)
	if c.hires != nil && c.hires.checkpoint != nil {
		fill(&c.hires.checkpoint.SHA256, c.hires.checkpoint.Path, catalog.SHA256)
	}
	if c.vae != nil {
		fill(&c.hashes.vae, c.vae.Path, catalog.SHA256)
		c.hashes.vae = short(c.hashes.vae)
	}
	if c.opts.Bool("lora_add_hashes_to_infotext") {
		c.hashes.loras = list(res.UsedLoRAs, c.req.Files.LoRAs, catalog.LoRAHash)
	}
	if c.opts.Bool("textual_inversion_add_hashes_to_infotext") {
		c.hashes.embeddings = list(res.UsedEmbeddings, c.req.Files.Embeddings, catalog.EmbeddingHash)
	}
	if ctx.Err() != nil {
		c.note("model files are still being hashed; hashes that are not known yet are left out")
	}
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
