package models

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"sdworker/fault"
	"sdworker/formats"
)

// Info is what the header of a file tells.
type Info struct {
	Path     string
	Bytes    int64
	Format   formats.Format
	Kind     Kind
	Arch     Arch
	DType    string            // of most values
	Values   int64             // numbers stored
	Tensors  []formats.Tensor  // in file order
	Metadata map[string]string // nil when there is none

	// Of a checkpoint, by the file and by the config beside it.
	VPrediction     bool // the UNet predicts v instead of eps
	ZeroTerminalSNR bool // it was trained with a last step of pure noise

	index     map[string]int // by name
	original  map[string]int // by the name of the original code, see Weights
	badConfig string         // what is wrong with the config beside the file
}

// Lookup finds a tensor by name.
func (i *Info) Lookup(name string) (formats.Tensor, bool) {
	at, ok := i.index[name]
	if !ok {
		return formats.Tensor{}, false
	}
	return i.Tensors[at], true
}

// contentError is a verdict about the content of a file, a predicate to put
// behind its name.
type contentError struct {
	sentence string
	cause    error
}

func (e *contentError) Error() string { return "the file " + e.sentence }
func (e *contentError) Unwrap() error { return e.cause }

// Inspect reads and verifies the header of a model file and recognises what it
// holds. It never reads the values. What is no model file at all, or a broken
// one, is an *fault.Error with code Invalid that says what is wrong; a
// missing file has code NotFound.
func Inspect(path string) (*Info, error) {
	f, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, openError(path, err)
	}
	return inspectOpen(f, path, st.Size())
}

// inspectOpen is Inspect for a file that is open.
func inspectOpen(f *os.File, path string, size int64) (*Info, error) {
	info, err := InspectReader(f, size)
	if err != nil {
		if bad, ok := errors.AsType[*contentError](err); ok {
			return nil, refuse(path, "%s", bad.sentence)
		}
		return nil, &fault.Error{Code: fault.Internal, Op: "models", Msg: "cannot read " + path, Err: err}
	}
	info.Path = path
	if info.Kind == Checkpoint {
		info.heedConfig()
	}
	return info, nil
}

// openRegular opens a model file. It never waits, as opening a named pipe would.
func openRegular(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, openError(path, err)
	}
	st, err := f.Stat()
	if err != nil {
		err = openError(path, err)
	} else if problem := irregular(path, st); problem != "" {
		err = refuse(path, "%s", problem)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// irregular says what something that is no file is, "" for a file.
func irregular(path string, info fs.FileInfo) string {
	switch {
	case IsPipeline(path):
		return "is a folder of diffusers, which is not loaded as it is; make one file of it with `worker models convert FOLDER FILE.safetensors`"
	case info.IsDir():
		return "is a folder; name the single .safetensors or .gguf file"
	case !info.Mode().IsRegular():
		return "is not a regular file"
	}
	return ""
}

// IsPipeline tells a folder that diffusers saved a whole pipeline in: several networks,
// each in a folder of its own.
func IsPipeline(path string) bool {
	info, err := os.Stat(filepath.Join(path, "model_index.json"))
	return err == nil && info.Mode().IsRegular()
}

// InspectReader is Inspect for a file that is open already; its errors do not
// name the file.
func InspectReader(r io.ReaderAt, size int64) (*Info, error) {
	head := make([]byte, min(size, 512))
	if n, err := r.ReadAt(head, 0); n < len(head) {
		return nil, err
	}
	format, err := sniff(head, size)
	if err != nil {
		return nil, err
	}
	c, err := format.Read(r, size)
	if err != nil {
		if formats.IsMalformed(err) {
			return nil, &contentError{"is " + err.Error(), err}
		}
		return nil, err
	}
	info := Describe(c)
	info.Bytes, info.Format = size, format
	return info, nil
}

// Describe recognises what a safetensors file of these contents would hold.
func Describe(c formats.Contents) *Info {
	info := &Info{Format: formats.Safetensors, Kind: Unknown, Arch: AnyArch, Metadata: c.Metadata, Tensors: c.Tensors}
	info.summarize()
	info.recognize()
	return info
}

// summarize builds the index and finds the type of most values.
func (i *Info) summarize() {
	i.index = make(map[string]int, len(i.Tensors))
	values := map[string]int64{}
	for at, t := range i.Tensors {
		i.index[t.Name] = at
		n := t.Values()
		values[t.DType] += n
		i.Values += n
		if n := values[t.DType]; i.DType == "" || n > values[i.DType] {
			i.DType = t.DType
		}
	}
}

func openError(path string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return &fault.Error{Code: fault.NotFound, Op: "models", Msg: "there is no file " + path, Err: err}
	}
	return &fault.Error{Code: fault.Invalid, Op: "models", Msg: "cannot open " + path, Err: err}
}

// refuse builds the error for a file that cannot be used.
func refuse(path, format string, args ...any) *fault.Error {
	return fault.Errorf(fault.Invalid, "models", "%s "+format, append([]any{path}, args...)...)
}
