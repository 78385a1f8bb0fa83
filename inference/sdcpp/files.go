package sdcpp

import (
	"sdworker/fault"
	"sdworker/internal/fileid"
	"sdworker/models"
)

// checker reads and judges the headers of model files, so that the engine need
// not: it gets a list of what to read. A file that passed is not read again.
type checker struct {
	pickle bool
	passed map[use]*modelFile
}

// use is a version of a file for a purpose.
type use struct {
	id   fileid.ID
	kind models.Kind
}

// modelFile is a file that passed.
type modelFile struct {
	id      fileid.ID
	info    *models.Info
	weights []models.Weight // what the engine reads of it
}

// check reports NotFound or Invalid, with a sentence that says what is wrong,
// unless a file can be used as the given kind.
func (c *checker) check(path string, kind models.Kind) (*modelFile, error) {
	configured := kind == models.Checkpoint && models.ConfigBeside(path) != "" // what it says may change without the file
	id, err := fileid.Stat(path)
	if known := c.passed[use{id, kind}]; err == nil && known != nil && !configured {
		return known, nil
	}
	info, err := models.Inspect(path)
	if err != nil {
		return nil, err
	}
	weights, err := info.Weights(kind, models.CheckOptions{AllowPickle: c.pickle})
	if err != nil {
		return nil, err
	}
	if id, err = fileid.Stat(path); err != nil {
		return nil, fault.Errorf(fault.NotFound, "open", "there is no file %s", path)
	}
	f := &modelFile{id, info, weights}
	if configured {
		return f, nil
	}
	if c.passed == nil {
		c.passed = map[use]*modelFile{}
	}
	c.passed[use{id, kind}] = f
	return f, nil
}
