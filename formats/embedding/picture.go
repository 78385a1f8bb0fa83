package embedding

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"sdworker/formats/pngtext"
)

// keyword is the key of the PNG text that carries an embedding.
const keyword = "sd-ti-embedding"

// readPNG reads the embedding that AUTOMATIC1111 writes into its preview images: a text
// of JSON in base64, where a tensor is {"TORCHTENSOR": [[...], ...]}. A1111 writes a tEXt
// chunk; programs that pack pictures make a zTXt or an iTXt chunk of it.
func readPNG(r io.Reader) (fileContent, error) {
	raw, err := io.ReadAll(r)
	if err != nil {
		return fileContent{}, err
	}
	text, ok := pngtext.Find(raw, keyword, maxFile)
	if !ok {
		return fileContent{}, ErrNone
	}
	decoded, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return fileContent{}, fmt.Errorf("embedding in the image: %w", err)
	}
	var file struct {
		Name   string
		Params map[string]struct {
			Vectors [][]float32 `json:"TORCHTENSOR"`
		} `json:"string_to_param"`
		Step           any
		Checkpoint     any `json:"sd_checkpoint"`
		CheckpointName any `json:"sd_checkpoint_name"`
	}
	if err := json.Unmarshal(decoded, &file); err != nil {
		return fileContent{}, fmt.Errorf("embedding in the image: %w", err)
	}
	content := fileContent{
		name: file.Name, tensors: map[string]tensor{},
		checkpoint: textOrNil(file.Checkpoint), checkpointName: textOrNil(file.CheckpointName),
	}
	if step, ok := file.Step.(float64); ok {
		n := int(step)
		content.step = &n
	}
	for name, param := range file.Params {
		width := 0
		if len(param.Vectors) > 0 {
			width = len(param.Vectors[0])
		}
		var values []float32
		for _, vector := range param.Vectors {
			if len(vector) != width {
				return fileContent{}, errors.New("the vectors of the embedding in the image differ in length")
			}
			values = append(values, vector...)
		}
		content.tensors[name] = tensor{
			[]int64{int64(len(param.Vectors)), int64(width)},
			func() ([]float32, error) { return values, nil },
		}
	}
	return content, nil
}

// textOrNil is a note of the file, which other programs may leave out or write as
// something else.
func textOrNil(v any) *string {
	if s, ok := v.(string); ok {
		return &s
	}
	return nil
}

// IsPicture tells by its name a picture that may carry an embedding from the previews
// beside one.
func IsPicture(name string) bool {
	lower := strings.ToLower(name)
	return strings.HasSuffix(lower, ".png") && !strings.HasSuffix(lower, ".preview.png")
}

// marker begins the content of the text chunk in which an embedding is stored.
const marker = keyword + "\x00"

// InPicture tells whether a PNG has such a chunk, of any kind, reading no more than the
// beginnings of its chunks.
func InPicture(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	var head [8 + len(marker)]byte // length, type, content
	if _, err := f.ReadAt(head[:8], 0); err != nil || string(head[:8]) != pngtext.Signature {
		return false
	}
	for at := int64(len(pngtext.Signature)); ; {
		n, err := f.ReadAt(head[:], at)
		if err != nil && err != io.EOF || n < 8 {
			return false
		}
		kind, content := string(head[4:8]), head[8:n]
		if pngtext.IsText(kind) && bytes.Equal(content, []byte(marker)) {
			return true
		}
		if kind == "IEND" {
			return false
		}
		at += 12 + int64(binary.BigEndian.Uint32(head[:4])) // with the checksum
	}
}
