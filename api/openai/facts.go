package openai

import (
	"cmp"
	"encoding/base64"
	"fmt"

	"sdworker/inference/clip"
	"sdworker/inference/imageio"
)

// facts are what a reply tells beside its pictures.
type facts struct {
	Size    string `json:"size"`    // WIDTHxHEIGHT of the pictures
	Quality string `json:"quality"` // as asked for; it changes nothing
	Usage   usage  `json:"usage"`
}

// usage counts tokens as OpenAI does for its bills. Here they are those of the
// prompt for the text encoder; pictures have none.
type usage struct {
	Total  int         `json:"total_tokens"`
	Input  int         `json:"input_tokens"`
	Output int         `json:"output_tokens"`
	Detail usageDetail `json:"input_tokens_details"`
}

type usageDetail struct {
	Text  int `json:"text_tokens"`
	Image int `json:"image_tokens"`
}

// facts are those of pictures of one size, where base64 is one of them.
func (q *request) facts(picture string) facts {
	return facts{Size: cmp.Or(sizeOf(picture), q.size), Quality: cmp.Or(q.quality, "auto"), Usage: q.usage}
}

// usageOf counts the tokens of a prompt.
func usageOf(prompt string) usage {
	n := len(clip.Tokenize(prompt))
	return usage{Total: n, Input: n, Detail: usageDetail{Text: n}}
}

// sizeOf is the size of a picture by its header.
func sizeOf(picture string) string {
	const enough = 64 << 10 // of base64; a multiple of 4
	raw, err := base64.StdEncoding.DecodeString(picture[:min(len(picture), enough)])
	if err != nil {
		return ""
	}
	w, h, err := imageio.Size(raw)
	if err != nil {
		return ""
	}
	return fmt.Sprintf("%dx%d", w, h)
}
