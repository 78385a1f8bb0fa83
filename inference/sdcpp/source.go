package sdcpp

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"sdworker/fault"
	"sdworker/internal/fileid"
	"sdworker/models"
)

// source is a model file that weights were read from, or are mapped from. It is
// held open, so that its content can be told from whatever is put in its place.
type source struct {
	id    fileid.ID // as it was when it was opened
	file  *os.File
	model *modelFile // what its header says
	stale bool       // another version has its name by now, so the next use reads that

	config fileid.ID // of the config beside a checkpoint as it was, zero for none
}

// configOf is the version of the config beside a checkpoint, zero for none.
func configOf(checkpoint string) fileid.ID {
	id, err := fileid.Stat(models.ConfigName(checkpoint))
	if err != nil {
		return fileid.ID{}
	}
	return id
}

// tries is how often a file that is replaced while it is looked at is opened.
const tries = 3

// open checks a model file and opens it; the two are of one version.
func (c *checker) open(path string, kind models.Kind) (*source, error) {
	for range tries {
		var config fileid.ID
		if kind == models.Checkpoint {
			config = configOf(path)
		}
		model, err := c.check(path, kind)
		if err != nil {
			return nil, err
		}
		f, err := os.Open(path)
		if err != nil {
			return nil, &fault.Error{Code: fault.Invalid, Op: "open", Msg: path + " cannot be read", Err: err}
		}
		info, err := f.Stat()
		if err == nil && fileid.Of(path, info) == model.id {
			return &source{id: model.id, file: f, model: model, config: config}, nil
		}
		f.Close()
	}
	return nil, beingWritten(path)
}

// name is a path that leads to this very file, even after another file got its
// path.
func (s *source) name() string { return fmt.Sprintf("/proc/self/fd/%d", s.file.Fd()) }

// named puts the path back into an error of the native side, which reads by name.
func (s *source) named(err error) error {
	if e, ok := errors.AsType[*fault.Error](err); ok {
		e.Msg = strings.ReplaceAll(e.Msg, s.name(), s.id.Path)
	}
	return err
}

// overwritten tells that somebody wrote into the file since it was opened, so that
// what is mapped from it is no longer what it was.
func (s *source) overwritten() bool {
	info, err := s.file.Stat()
	return err != nil || fileid.Of(s.id.Path, info) != s.id
}

// is tells that the source is what a path leads to.
func (s *source) is(path string) bool { return s != nil && !s.stale && s.id.Path == path }

func (s *source) close() {
	if s != nil {
		s.file.Close()
	}
}

// beingWritten is the error for a file that changed while it was read: the same
// request may pass later.
func beingWritten(path string) error {
	return fault.Errorf(fault.Busy, "open", "%s is being written, try again when it is complete", path)
}

// changedInUse is the error for weights that were overwritten while they were in
// use. The next engine reads them anew.
func changedInUse(op string, s *source) error {
	return fault.Errorf(fault.Broken, op, "%s was overwritten while it was in use; it is read again with the next request", s.id.Path)
}
