package clip

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
)

// embeddingKeyword is the keyword of the PNG text chunk that carries an embedding.
const embeddingKeyword = "sd-ti-embedding"

// readPNG reads the embedding that AUTOMATIC1111 writes into its preview images: a tEXt
// chunk with JSON in base64, where a tensor is {"TORCHTENSOR": [[...], ...]}.
func readPNG(raw []byte) (fileContent, error) {
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
		t := tensor{shape: []int{len(param.Vectors), 0}}
		for _, vector := range param.Vectors {
			t.shape[1] = len(vector)
			t.values = append(t.values, vector...)
		}
		if len(t.values) != t.shape[0]*t.shape[1] {
			return fileContent{}, errors.New("the vectors of the embedding in the image differ in length")
		}
		content.tensors[name] = t
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
