package sdapi

import (
	"path"
	"path/filepath"
	"slices"
	"strings"

	"sdworker/api/sdapi/pyjson"
	"sdworker/inference"
)

// shortHash is the length of the hash that A1111 shows, in hex digits.
const shortHash = 10

// Hash is the short hash, "" until the file was hashed.
func (c Checkpoint) Hash() string { return c.SHA256[:min(shortHash, len(c.SHA256))] }

// Title is what A1111 calls the checkpoint in its menu.
func (c Checkpoint) Title() string { return withHash(c.Rel, c.Hash()) }

// ModelName is the name of the list of models: the path without extension.
func (c Checkpoint) ModelName() string {
	return strings.NewReplacer("/", "_", `\`, "_").Replace(strings.TrimSuffix(c.Rel, path.Ext(c.Rel)))
}

// BaseName is the name that infotexts carry.
func (c Checkpoint) BaseName() string {
	base := path.Base(c.Rel)
	return strings.TrimSuffix(base, path.Ext(base))
}

// ShortTitle is the name with hash that infotexts carry for a second model.
func (c Checkpoint) ShortTitle() string { return withHash(c.BaseName(), c.Hash()) }

func withHash(name, hash string) string {
	if hash == "" {
		return name
	}
	return name + " [" + hash + "]"
}

// aliases are all texts by which sd_model_checkpoint finds the checkpoint.
func (c Checkpoint) aliases() []string {
	names := []string{c.Title(), c.ModelName(), c.Rel, path.Base(c.Rel), c.BaseName()}
	if c.OldHash != "" {
		names = append(names, c.OldHash, withHash(c.Rel, c.OldHash))
	}
	if c.SHA256 != "" {
		names = append(names, c.Hash(), c.SHA256, withHash(c.ModelName(), c.Hash()), withHash(c.BaseName(), c.Hash()))
	}
	return names
}

// findCheckpoint finds a checkpoint by one of its aliases.
func (s *Server) findCheckpoint(name string) (Checkpoint, bool) {
	for _, c := range s.cfg.Catalog.Checkpoints() {
		if slices.Contains(c.aliases(), name) {
			return c, true
		}
	}
	return Checkpoint{}, false
}

// closestCheckpoint finds a checkpoint as hires fix and refiner do: by alias, or
// as the first in order of title length that holds the text in its title.
func (s *Server) closestCheckpoint(name string) (Checkpoint, bool) {
	if c, ok := s.findCheckpoint(name); ok {
		return c, true
	}
	bare, _, _ := strings.Cut(name, " [")
	var found []Checkpoint
	for _, c := range s.cfg.Catalog.Checkpoints() {
		if bare != "" && strings.Contains(c.Title(), bare) {
			found = append(found, c)
		}
	}
	if len(found) == 0 {
		return Checkpoint{}, false
	}
	return slices.MinFunc(found, func(a, b Checkpoint) int { return len(a.Title()) - len(b.Title()) }), true
}

// startCheckpoint puts Config.Checkpoint into the options.
func (s *Server) startCheckpoint() error {
	if s.cfg.Checkpoint == "" {
		return nil
	}
	c, ok := s.findCheckpoint(s.cfg.Checkpoint)
	if !ok {
		full, err := filepath.Abs(s.cfg.Checkpoint)
		all := s.cfg.Catalog.Checkpoints()
		at := slices.IndexFunc(all, func(c Checkpoint) bool { return err == nil && c.Path == full })
		if at < 0 {
			return inference.Errorf(inference.NotFound, "model", "no checkpoint is called %q; name a file, or one of the list of models", s.cfg.Checkpoint)
		}
		c = all[at]
	}
	return s.options.Keep(pyjson.NewObject("sd_model_checkpoint", c.Title()))
}

// chosenCheckpoint is the checkpoint of the options, or the first one when they
// name none that exists, as A1111 falls back.
func (s *Server) chosenCheckpoint(name string) (Checkpoint, error) {
	if c, ok := s.findCheckpoint(name); ok {
		return c, nil
	}
	// The stored title may be from before the file was hashed, or from a file
	// that has changed since.
	if bare, _, cut := strings.Cut(name, " ["); cut {
		if c, ok := s.findCheckpoint(bare); ok {
			return c, nil
		}
	}
	all := s.cfg.Catalog.Checkpoints()
	if len(all) == 0 {
		return Checkpoint{}, crash("FileNotFoundError", "No checkpoints found. Put a model into the folder of checkpoints and restart or refresh")
	}
	return all[0], nil
}

// hashed returns the checkpoint with its hash. It waits for the file to be read
// when it was not hashed before.
func (s *Server) hashed(c Checkpoint) Checkpoint {
	if c.SHA256 == "" {
		sum, err := s.cfg.Catalog.Hash(c.Path)
		if err != nil {
			s.cfg.Log.Warn().Err(err).Str("file", c.Path).Msg("checkpoint cannot be hashed")
			return c
		}
		c.SHA256 = sum
	}
	return c
}

// chosenVAE finds the file of option sd_vae, nil for the checkpoint's own. It
// reports false for a name that does not exist.
func (s *Server) chosenVAE(name string, c Checkpoint) (*VAE, bool) {
	all := s.cfg.Catalog.VAEs()
	switch name {
	case "None":
		return nil, true
	case "Automatic", "auto", "":
		for i := range all {
			if strings.HasPrefix(all[i].Name, c.BaseName()) {
				return &all[i], true
			}
		}
		return nil, true
	}
	for i := range all {
		if all[i].Name == name {
			return &all[i], true
		}
	}
	return nil, false
}
