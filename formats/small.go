package formats

import (
	"fmt"
	"os"
)

// OpenSmall opens a file of a kind that has at most limit bytes, and returns its size.
// It refuses a larger one, which is read whole and would fill the memory.
func OpenSmall(path string, limit int64) (*os.File, int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err == nil && info.Size() > limit {
		err = fmt.Errorf("%d bytes are too many for this kind of file; is it a model?", info.Size())
	}
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, info.Size(), nil
}
