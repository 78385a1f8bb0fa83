package catalog

import (
	"os"
	"runtime"
	"slices"
	"sync"

	"sdworker/fault"
	"sdworker/formats/embedding"
	"sdworker/internal/fileid"
	"sdworker/models"
)

// verdict is what [Check] says of a file.
type verdict struct {
	err    error // why it cannot be used as what its folder is for, nil when it can
	hasVAE bool  // of a checkpoint
}

// verdictKey identifies what a verdict depends on.
type verdictKey struct {
	file   fileid.ID
	config int64 // time of the config beside a checkpoint, 0 without one
}

// verdict judges a file. Its header is read once for each version of it.
func (c *Catalog) verdict(f File) verdict {
	key := verdictKey{file: f.ID()}
	if f.Kind == models.Checkpoint {
		if config, err := os.Stat(models.ConfigName(f.Path)); err == nil {
			key.config = config.ModTime().UnixNano()
		}
	}
	if known, ok := c.verdicts.Load(key); ok {
		return known.(verdict)
	}
	var v verdict
	if f.Picture() {
		if !embedding.InPicture(f.Path) {
			v.err = fault.Errorf(fault.Invalid, "models", "%s carries no textual inversion", f.Path)
		}
	} else if info, err := models.Check(f.Path, f.Kind, models.CheckOptions{AllowPickle: c.config.AllowPickle}); err != nil {
		v.err = err
	} else {
		v.hasVAE = f.Kind == models.Checkpoint && info.HasVAE()
	}
	c.verdicts.Store(key, v)
	return v
}

// Problem is the error of [Check] for a file of the lists, nil when it can be used.
func (c *Catalog) Problem(f File) error { return c.verdict(f).err }

// Usable leaves out of a list the files that cannot be used, and checkpoints
// without a VAE where there is none to go with them. Headers are read several at a
// time.
func (c *Catalog) Usable(files []File) []File {
	verdicts := make([]verdict, len(files))
	each(files, func(i int, f File) { verdicts[i] = c.verdict(f) })
	anyVAE := sync.OnceValue(func() bool { return slices.ContainsFunc(c.VAEs(), c.usable) })
	out := make([]File, 0, len(files))
	for i, f := range files {
		if v := verdicts[i]; v.err == nil && (f.Kind != models.Checkpoint || v.hasVAE || anyVAE()) {
			out = append(out, f)
		}
	}
	return out
}

// each calls do for every file, for several at a time: they are read.
func each(files []File, do func(i int, f File)) {
	var wait sync.WaitGroup
	slots := make(chan struct{}, 2*runtime.GOMAXPROCS(0))
	for i, f := range files {
		slots <- struct{}{}
		wait.Go(func() {
			defer func() { <-slots }()
			do(i, f)
		})
	}
	wait.Wait()
}

func (c *Catalog) usable(f File) bool { return c.verdict(f).err == nil }
