package sdcpp

import (
	"sdworker/inference"
	"sdworker/inference/fileid"
	"sdworker/models"
)

// checker reads the headers of model files before the engine does, which ends the
// process on some broken ones. A file that passed is not read again.
type checker struct {
	pickle bool
	passed map[fileid.ID]bool
}

// check reports NotFound or Invalid, with a sentence that says what is wrong,
// unless the engine can be trusted with a file. A checkpoint must be one that
// works here; of other kinds the engine says itself what does not fit.
func (c *checker) check(path string, kind models.Kind) error {
	id, err := fileid.Stat(path)
	if err == nil && c.passed[id] {
		return nil
	}
	info, err := models.Inspect(path)
	if err != nil {
		return err
	}
	if err := c.verdict(info, kind); err != nil {
		return err
	}
	if id, err = fileid.Stat(path); err != nil {
		return inference.Errorf(inference.NotFound, "open", "there is no file %s", path)
	}
	if c.passed == nil {
		c.passed = map[fileid.ID]bool{}
	}
	c.passed[id] = true
	return nil
}

func (c *checker) verdict(info *models.Info, kind models.Kind) error {
	o := models.CheckOptions{AllowPickle: c.pickle}
	if kind == models.Checkpoint {
		return info.Fits(kind, o)
	}
	return info.Readable(o)
}
