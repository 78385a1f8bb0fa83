package clip

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// embeddingKeyword is the keyword of the PNG text chunk that carries an embedding.
const embeddingKeyword = "sd-ti-embedding"

// readPNG reads the embedding that AUTOMATIC1111 writes into its preview images: a tEXt
// chunk with JSON in base64, where a tensor is {"TORCHTENSOR": [[...], ...]}.
func readPNG(r io.Reader) (fileContent, error) {
	raw, err := io.ReadAll(r)
	if err != nil {
		return fileContent{}, err
	}
	text, ok := pngText(raw, embeddingKeyword)
	if !ok {
		return fileContent{}, ErrNoEmbedding
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
		Step           *int
		Checkpoint     *string `json:"sd_checkpoint"`
		CheckpointName *string `json:"sd_checkpoint_name"`
	}
	if err := json.Unmarshal(decoded, &file); err != nil {
		return fileContent{}, fmt.Errorf("embedding in the image: %w", err)
	}
	content := fileContent{
		name: file.Name, tensors: map[string]tensor{},
		step: file.Step, checkpoint: file.Checkpoint, checkpointName: file.CheckpointName,
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

// pngText returns the text of the first tEXt chunk with the keyword.
func pngText(raw []byte, keyword string) (text string, ok bool) {
	const signature = "\x89PNG\r\n\x1a\n"
	rest, isPNG := bytes.CutPrefix(raw, []byte(signature))
	if !isPNG {
		return "", false
	}
	for len(rest) >= 12 { // length, type, data, checksum
		length := uint64(binary.BigEndian.Uint32(rest))
		if length > uint64(len(rest)-12) {
			break
		}
		kind, data := string(rest[4:8]), rest[8:8+length]
		if value, found := bytes.CutPrefix(data, []byte(keyword+"\x00")); found && kind == "tEXt" {
			return string(value), true
		}
		rest = rest[12+length:]
	}
	return "", false
}
