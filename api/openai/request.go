package openai

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"strconv"
	"strings"
)

// request is an OpenAI request in A1111's terms.
type request struct {
	path   string         // of the A1111 API
	fields map[string]any // A1111's
	event  string         // prefix of streamed events

	format  string // png, jpeg or webp
	asURL   bool   // pictures as data URLs instead of bare base64
	stream  bool
	partial int // unfinished pictures wanted in a stream

	size    string // WIDTHxHEIGHT that the request leads to
	quality string // as sent
	usage   usage
}

const (
	// maxImages is OpenAI's limit of n.
	maxImages = 10
	// maxBatch is how many pictures share a pass: enough to fill a GPU with
	// pictures of 512x512, few enough for its memory.
	maxBatch = 4
	// maxPartial is OpenAI's limit of partial_images.
	maxPartial = 3
)

// ignored are parameters that change nothing here: they are about OpenAI's
// models, accounts and prices.
var ignored = []string{"user", "quality", "style", "moderation", "input_fidelity"}

// translate makes the request of the parameters that both routes share. What is
// left in b afterwards are fields of A1111.
func (s *Server) translate(ctx context.Context, b body) (*request, error) {
	quality, _ := b["quality"].(string)
	for _, name := range ignored {
		delete(b, name)
	}
	prompt, ok := b["prompt"].(string)
	if !ok {
		return nil, invalid("prompt", "", "prompt is missing; it must be a text")
	}
	q := &request{quality: quality, usage: usageOf(prompt)}
	model := b.take("model")
	n, err := b.takeInt("n", 1, maxImages, 1)
	if err != nil {
		return nil, err
	}
	width, height, err := size(b.take("size"))
	if err != nil {
		return nil, err
	}
	if q.format, err = b.takeOne("output_format", "png", "jpeg", "webp"); err != nil {
		return nil, err
	}
	const none = -1
	compression, err := b.takeInt("output_compression", 0, 100, none)
	if err != nil {
		return nil, err
	}
	if q.asURL, err = wantsURL(b, model); err != nil {
		return nil, err
	}
	background, err := b.takeOne("background", "auto", "opaque", "transparent")
	if err != nil {
		return nil, err
	}
	if background == "transparent" {
		return nil, invalid("background", "", "pictures with a transparent background cannot be made")
	}
	stream, err := b.takeOne("stream", "false", "true")
	if err != nil {
		return nil, err
	}
	q.stream = stream == "true"
	if q.partial, err = b.takeInt("partial_images", 0, maxPartial, 0); err != nil {
		return nil, err
	}

	settings := map[string]any{"samples_format": q.format}
	if compression != none {
		settings["jpeg_quality"] = compression
	}
	if title, err := s.checkpoint(ctx, model); err != nil {
		return nil, err
	} else if title != "" {
		settings["sd_model_checkpoint"] = title
	}
	q.fields = map[string]any{"override_settings": settings}
	if width != 0 {
		q.fields["width"], q.fields["height"] = width, height
	}
	if n > 1 {
		batch := maxBatch
		for n%batch != 0 {
			batch--
		}
		q.fields["batch_size"], q.fields["n_iter"] = batch, n/batch
	}
	return q, q.add(b)
}

// add takes over the client's own fields of A1111, which win over translated
// ones.
func (q *request) add(b body) error {
	if own, ok := b["override_settings"]; ok {
		if text, isText := own.(string); isText { // of a form
			_ = json.Unmarshal([]byte(text), &own) // what is no JSON is no object either
		}
		settings, isObject := own.(map[string]any)
		if !isObject {
			return invalid("override_settings", "", "override_settings must be an object")
		}
		maps.Copy(q.fields["override_settings"].(map[string]any), settings)
		delete(b, "override_settings")
	}
	maps.Copy(q.fields, b)
	return nil
}

// size reads WIDTHxHEIGHT; "" and auto leave it to A1111's default, with zeros.
func size(text string) (width, height int, err error) {
	if text == "" || text == "auto" {
		return 0, 0, nil
	}
	w, h, ok := strings.Cut(text, "x")
	width, errW := strconv.Atoi(w)
	height, errH := strconv.Atoi(h)
	if !ok || errW != nil || errH != nil || width < 1 || height < 1 {
		return 0, 0, invalid("size", "", "size is %q; give WIDTHxHEIGHT such as 512x512, or auto", text)
	}
	return width, height, nil
}

// wantsURL reads response_format. Only the DALL-E models have URLs as default.
func wantsURL(b body, model string) (bool, error) {
	formats := []string{"b64_json", "url"}
	if strings.HasPrefix(model, "dall-e") {
		formats = []string{"url", "b64_json"}
	}
	format, err := b.takeOne("response_format", formats...)
	return format == "url", err
}

// image is one picture of a reply.
type image struct {
	Base64 string `json:"b64_json,omitempty"`
	URL    string `json:"url,omitempty"`
}

// images reads the pictures out of a reply of A1111.
func (q *request) images(reply []byte) ([]image, error) {
	var out struct {
		Images []string `json:"images"`
	}
	if err := json.Unmarshal(reply, &out); err != nil {
		return nil, fmt.Errorf("reply of %s: %w", q.path, err)
	}
	list := make([]image, len(out.Images))
	for i, data := range out.Images {
		if q.asURL {
			list[i].URL = "data:image/" + q.format + ";base64," + data
		} else {
			list[i].Base64 = data
		}
	}
	return list, nil
}
