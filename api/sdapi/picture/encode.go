package picture

import (
	"context"
	"encoding/base64"
	"net/http"
	"runtime"

	"golang.org/x/sync/errgroup"

	"sdworker/api/sdapi/exception"
	"sdworker/api/sdapi/options"
	"sdworker/api/sdapi/pyjson"
	"sdworker/inference/imageio"
)

// Encodable is a picture with the text that goes into its file.
type Encodable struct {
	Pixels imageio.RGB
	alpha  *imageio.Gray // of pixels, which only PNG keeps; nil for an opaque picture
	Text   string
	More   []imageio.Text // further texts, which only PNG keeps
	xmp    string         // packet of metadata, "" for none
}

// Transparent is a picture with its alpha, if it has one that counts.
func Transparent(m imageio.RGBA) Encodable {
	out := Encodable{Pixels: m.DropAlpha()}
	if !m.Opaque() {
		alpha := m.Alpha()
		out.alpha = &alpha
	}
	return out
}

// Formats are the values of option samples_format that can be sent.
var Formats = []string{"png", "jpg", "jpeg", "webp"}

// FormatName is the format of the options in which pictures are sent.
func FormatName(o options.Values) string { return o.Text("samples_format") }

// EncodeAll writes pictures as files of the format of the options, several at a
// time, in their order.
func EncodeAll(ctx context.Context, images []Encodable, o options.Values) ([][]byte, error) {
	files := make([][]byte, len(images))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i, m := range images {
		group.Go(func() error {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if !o.Bool("enable_pnginfo") {
				m.Text, m.More = "", nil
			}
			var err error
			files[i], err = Encode(m, o)
			return err
		})
	}
	return files, group.Wait()
}

// Encode writes one picture in the format of the options.
func Encode(m Encodable, o options.Values) ([]byte, error) {
	return EncodeAs(FormatName(o), m, o)
}

// EncodeAs writes one picture with its infotext inside. A1111's quality counts for
// JPEG and WebP.
func EncodeAs(format string, m Encodable, o options.Values) ([]byte, error) {
	quality := min(max(int(o.Int("jpeg_quality")), 1), 100)
	switch format {
	case "png":
		texts := m.More
		if m.Text != "" {
			texts = append([]imageio.Text{{Key: "parameters", Value: m.Text}}, texts...)
		}
		if m.alpha != nil {
			return m.marked(imageio.EncodeAlphaPNG(m.Pixels, *m.alpha, texts...))
		}
		return m.marked(imageio.EncodePNG(m.Pixels, texts...))
	case "jpg", "jpeg":
		return m.marked(imageio.EncodeJPEG(m.Pixels, quality, m.Text))
	case "webp":
		return m.marked(imageio.EncodeWebP(m.Pixels, quality, o.Bool("webp_lossless"), m.Text))
	}
	return nil, exception.Refuse(http.StatusInternalServerError, "Invalid image format")
}

// List makes files ready for a JSON list.
func List(files [][]byte) []any {
	list := make([]any, len(files))
	for i, f := range files {
		list[i] = pyjson.Base64(f)
	}
	return list
}

// Base64Text is a file as JSON has it.
func Base64Text(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

// MediaType is the media type of a value of option samples_format.
func MediaType(format string) string {
	if format == "jpg" {
		format = "jpeg"
	}
	return "image/" + format
}

// marked is a file with the provenance of its picture.
func (m Encodable) marked(file []byte, err error) ([]byte, error) {
	if m.xmp == "" || err != nil {
		return file, err
	}
	return imageio.AddXMP(file, m.xmp)
}
