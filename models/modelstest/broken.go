package modelstest

import (
	"cmp"
	"encoding/binary"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/formats/safetensors"
	"sdworker/models"
	"sdworker/models/synth"
)

// broken are files of a kind that downloads, disks and converters spoiled. Each says
// in its problem what is seen of it.
func broken(t *testing.T, kind models.Kind) []Case {
	t.Helper()
	made := map[models.Kind]synth.Kind{
		models.Checkpoint: synth.Checkpoint, models.VAE: synth.VAE, models.LoRA: synth.LoRA, models.ControlNet: synth.ControlNet,
		models.Embedding: synth.Embedding, models.Upscaler: synth.ESRGAN, models.Preview: synth.TAESD,
	}
	base := parameters(t, made[kind])
	cut := func(size func(h *safetensors.Header) int64) func(*testing.T, string) {
		return func(t *testing.T, path string) {
			h, err := safetensors.ReadHeaderFile(path)
			require.NoError(t, err)
			require.NoError(t, os.Truncate(path, size(h)))
		}
	}
	begin := func(bytes string) func(*testing.T, string) {
		return func(t *testing.T, path string) { overwrite(t, path, 0, bytes) }
	}
	length := func(n uint64) string { return string(binary.LittleEndian.AppendUint64(nil, n)) }
	list := []Case{
		{Name: "cut to 5 bytes", change: cut(func(*safetensors.Header) int64 { return 5 }), Problem: "no known model format"},
		{Name: "cut in the header", change: cut(func(h *safetensors.Header) int64 { return h.DataStart / 2 }), Problem: "ends behind the file"},
		{Name: "cut behind the header", change: cut(func(h *safetensors.Header) int64 { return h.DataStart }), Problem: "truncated"},
		{Name: "without its last byte", change: cut(func(h *safetensors.Header) int64 { return h.DataStart + h.DataSize() - 1 }), Problem: "truncated"},
		{Name: "with bytes behind its end", change: cut(func(h *safetensors.Header) int64 { return h.DataStart + h.DataSize() + 1 }), Problem: "follow the last value"},
		{Name: "begun with zeros", change: begin(strings.Repeat("\x00", 1024)), Problem: "begins with zeros"},
		{Name: "that is a page", change: begin("<!DOCTYPE html><html>"), Problem: "is a web page"},
		{Name: "that says it is GGUF", change: begin("GGUF\x03\x00\x00\x00"), Problem: "announce a header"},
		{Name: "that says it is a zip", change: begin("PK\x03\x04\x14\x00\x00\x00"), Problem: "announce a header"},
		{Name: "that says it is a pickle", change: begin("\x80\x02}q\x00(X"), Problem: "ends in the middle"},
		{Name: "of a header without end", change: begin(length(1 << 62)), Problem: "no known model format"},
		{Name: "of a header of a gigabyte", change: begin(length(1 << 30)), Problem: "announce a header"},
		{Name: "of a negative header", change: begin(length(1 << 63)), Problem: "no known model format"},
		{Name: "of a header of 2 bytes", change: begin(length(2)), Problem: "not JSON"},
		{Name: "of a header that is no JSON", change: func(t *testing.T, path string) { overwrite(t, path, 9, "}}}}") }, Problem: "text follows the JSON header"},
		{Name: "of offsets beyond the end", change: headerText(`"data_offsets":[0,`, `"data_offsets":[9,`), Problem: "not a valid safetensors file"},
		{Name: "of a negative side", change: headerText(`"shape":[`, `"shape":[-`), Problem: "not a valid safetensors file"},
		{Name: "of a huge side", change: headerText(`"shape":[`, `"shape":[99999999999999999999`), Problem: "not a valid safetensors file"},
		{Name: "of shapes that hold more than there is", change: headerText(`"shape":[`, `"shape":[7,`), Problem: "not a valid safetensors file"},
	}
	if kind != models.LoRA && kind != models.Embedding { // of a LoRA the other layers act, with a note
		list = append(list,
			Case{Name: "of a type that is none", change: headerText(`"dtype":"F`, `"dtype":"Q`), Problem: "as Q16"},
			Case{Name: "of an empty tensor", tensors: emptied(base), Problem: "missing"})
	}
	switch kind {
	case models.Embedding: // small enough to be read by every judge
		list = append(list, Case{Name: "of no numbers", change: spoil, Problem: "values that are no numbers"})
	case models.Upscaler, models.Preview: // their users are sent no picture of it
	default:
		list = append(list, Case{Name: "of no numbers", change: spoil, NoNumbers: true})
	}
	for i := range list {
		list[i].Name = "broken, " + list[i].Name
		if list[i].tensors == nil {
			list[i].tensors = base
		}
	}
	return list
}

// spoil makes every value of the largest tensor NaN, of a VAE of the decoder's.
func spoil(t *testing.T, path string) {
	t.Helper()
	h, err := safetensors.ReadHeaderFile(path)
	require.NoError(t, err)
	tensors := slices.DeleteFunc(slices.Clone(h.Tensors), func(t safetensors.Tensor) bool { return strings.HasPrefix(t.Name, "encoder.") })
	largest := slices.MaxFunc(tensors, func(a, b safetensors.Tensor) int { return cmp.Compare(a.Size, b.Size) })
	overwrite(t, path, h.DataStart+largest.Offset, strings.Repeat("\xff", int(largest.Size)))
}

// emptied is a list whose largest tensor has no values.
func emptied(list tensors) tensors {
	largest := 0
	for i, t := range list {
		if t.Elements() > list[largest].Elements() {
			largest = i
		}
	}
	out := with(list)
	out[largest].Shape = []int64{0}
	return out
}

// overwrite puts bytes into a file.
func overwrite(t *testing.T, path string, at int64, bytes string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte(bytes), at)
	require.NoError(t, err)
	require.NoError(t, f.Close())
}

// headerText changes the first place of a text in the header, which may get longer.
func headerText(from, to string) func(*testing.T, string) {
	return func(t *testing.T, path string) {
		h, err := safetensors.ReadHeaderFile(path)
		require.NoError(t, err)
		raw := make([]byte, h.DataStart-8)
		f, err := os.Open(path)
		require.NoError(t, err)
		_, err = f.ReadAt(raw, 8)
		require.NoError(t, err)
		require.NoError(t, f.Close())
		text := string(raw)
		require.Contains(t, text, from)
		text = strings.Replace(text, from, to, 1)
		require.NoError(t, os.WriteFile(path, append(binary.LittleEndian.AppendUint64(nil, uint64(len(text))), text...), 0o600))
		require.NoError(t, os.Truncate(path, int64(8+len(text))+h.DataSize()))
	}
}
