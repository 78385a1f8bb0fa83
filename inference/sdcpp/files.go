package sdcpp

import (
	"os"
	"time"

	"sdworker/inference"
	"sdworker/models"
)

// stamp identifies the content of a file as far as that is free to know.
type stamp struct {
	path  string
	bytes int64
	mtime time.Time
}

func stampOf(path string, info os.FileInfo) stamp {
	return stamp{path, info.Size(), info.ModTime().Round(0)}
}

// checker reads the headers of model files before the engine does, which ends the
// process on some broken ones. A file that passed is not read again.
type checker struct {
	pickle bool
	passed map[stamp]bool
}

// check reports NotFound or Invalid, with a sentence that says what is wrong,
// unless the engine can be trusted with a file. A checkpoint must be one that
// works here; of other kinds the engine says itself what does not fit.
func (c *checker) check(path string, kind models.Kind) (os.FileInfo, error) {
	stat, err := os.Stat(path)
	if err == nil && c.passed[stampOf(path, stat)] {
		return stat, nil
	}
	info, err := models.Inspect(path)
	if err != nil {
		return nil, err
	}
	if err := c.verdict(info, kind); err != nil {
		return nil, err
	}
	if stat, err = os.Stat(path); err != nil {
		return nil, inference.Errorf(inference.NotFound, "open", "there is no file %s", path)
	}
	if c.passed == nil {
		c.passed = map[stamp]bool{}
	}
	c.passed[stampOf(path, stat)] = true
	return stat, nil
}

func (c *checker) verdict(info *models.Info, kind models.Kind) error {
	o := models.CheckOptions{AllowPickle: c.pickle}
	if kind == models.Checkpoint {
		return info.Fits(kind, o)
	}
	return info.Readable(o)
}
