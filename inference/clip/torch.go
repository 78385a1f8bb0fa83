package clip

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
)

// readTorch reads what torch.save of PyTorch 1.6 and later wrote: a zip archive with a
// pickle and a file of numbers for each storage. Two layouts are embeddings: a dict of
// which string_to_param holds one tensor by its placeholder, which training programs write with
// notes beside it, and a dict of one tensor by its name.
func readTorch(raw []byte) (fileContent, error) {
	archive, err := zip.NewReader(bytes.NewReader(raw), int64(len(raw)))
	if err != nil {
		return fileContent{}, errors.New("no PyTorch file of version 1.6 or later: save the embedding again with a current version")
	}
	t := torchFile{archive: archive}
	pickled, err := t.pickle()
	if err != nil {
		return fileContent{}, err
	}
	u := unpickler{raw: pickled, call: t.call, persistent: t.storage}
	value, err := u.run()
	if err != nil {
		return fileContent{}, err
	}
	root, ok := value.(dict)
	if !ok {
		return fileContent{}, errors.New("it holds no dict of tensors")
	}
	return contentOf(root), nil
}

// contentOf picks the tensors and the notes out of a file's dict.
func contentOf(root dict) fileContent {
	content := fileContent{tensors: map[string]tensor{}}
	params, ok := root["string_to_param"].(dict)
	if !ok {
		params = root
	} else if inner, ok := params["_parameters"].(dict); ok {
		params = inner // a ParameterDict
	}
	for name, value := range params {
		if t, ok := value.(tensor); ok {
			content.tensors[name] = t
		}
	}
	if step, ok := root["step"].(int); ok {
		content.step = &step
	}
	if s, ok := root["sd_checkpoint"].(string); ok {
		content.checkpoint = &s
	}
	if s, ok := root["sd_checkpoint_name"].(string); ok {
		content.checkpointName = &s
	}
	return content
}

// torchFile is an open PyTorch archive.
type torchFile struct {
	archive *zip.Reader
	folder  string // that all its files are in
}

func (t *torchFile) pickle() ([]byte, error) {
	for _, f := range t.archive.File {
		if path.Base(f.Name) == "data.pkl" {
			t.folder = path.Dir(f.Name)
			return t.read(f.Name)
		}
	}
	return nil, errors.New("no PyTorch file: it has no data.pkl")
}

func (t *torchFile) read(name string) ([]byte, error) {
	f, err := t.archive.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxEmbeddingFile+1))
	if err == nil && len(raw) > maxEmbeddingFile {
		err = fmt.Errorf("%s is too large for an embedding", name)
	}
	return raw, err
}

// storage is a file of numbers that tensors are views of.
type storage struct {
	format number // 0 if it is none of floating-point numbers
	raw    []byte
}

// storage loads what a persistent id names: ("storage", class, key, device, size).
func (t *torchFile) storage(id any) (any, error) {
	parts, _ := id.(tuple)
	if len(parts) < 3 {
		return nil, errPickle
	}
	class, ok1 := parts[1].(global)
	key, ok2 := parts[2].(string)
	if !ok1 || !ok2 || strings.ContainsAny(key, "/.") {
		return nil, errPickle
	}
	raw, err := t.read(path.Join(t.folder, "data", key))
	if err != nil {
		return nil, err
	}
	format := map[global]number{
		"torch.DoubleStorage": float64s, "torch.FloatStorage": float32s,
		"torch.HalfStorage": float16s, "torch.BFloat16Storage": bfloat16s,
	}[class]
	return storage{format: format, raw: raw}, nil
}

// call answers the calls that occur in embedding files and refuses all others.
func (t *torchFile) call(function global, arguments tuple) (any, error) {
	switch function {
	case "collections.OrderedDict", "torch.nn.modules.container.ParameterDict":
		return dict{}, nil
	case "torch._utils._rebuild_parameter":
		if len(arguments) == 0 {
			return nil, errPickle
		}
		return arguments[0], nil
	case "torch._utils._rebuild_tensor_v2":
		return rebuildTensor(arguments)
	}
	return nil, fmt.Errorf("the file wants to call %s, which no embedding needs", function)
}

var errBeyond = errors.New("a tensor reaches beyond its numbers")

// rebuildTensor makes a tensor of (storage, offset, shape, strides, ...). Whole numbers
// give nil.
func rebuildTensor(arguments tuple) (any, error) {
	if len(arguments) < 4 {
		return nil, errPickle
	}
	s, ok1 := arguments[0].(storage)
	offset, ok2 := arguments[1].(int)
	shape, ok3 := ints(arguments[2])
	strides, ok4 := ints(arguments[3])
	if !ok1 || !ok2 || !ok3 || !ok4 || len(shape) != len(strides) {
		return nil, errPickle
	}
	if s.format == 0 {
		return nil, nil
	}
	n, err := count(shape)
	if err != nil {
		return nil, err
	}
	available := len(s.raw) / s.format.size()
	if n > available {
		return nil, errBeyond
	}
	t := tensor{shape: shape, values: make([]float32, n)}
	index := make([]int, len(shape))
	for i := range t.values {
		at := offset
		for axis, stride := range strides {
			at += index[axis] * stride
		}
		if at < 0 || at >= available {
			return nil, errBeyond
		}
		t.values[i] = s.format.at(s.raw, at)
		for axis, v := range slices.Backward(shape) {
			if index[axis]++; index[axis] < v {
				break
			}
			index[axis] = 0
		}
	}
	return t, nil
}

func ints(value any) ([]int, bool) {
	items, ok := value.(tuple)
	numbers := make([]int, len(items))
	for i, item := range items {
		n, isInt := item.(int)
		if !isInt {
			return nil, false
		}
		numbers[i] = n
	}
	return numbers, ok
}
