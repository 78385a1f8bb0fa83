package sdapi

import (
	"context"
	"net/http"
	"runtime"

	"golang.org/x/sync/errgroup"

	"sdworker/api/sdapi/options"
	"sdworker/inference/imageio"
)

// encodable is a picture with the text that goes into its file.
type encodable struct {
	pixels imageio.RGB
	text   string
	more   []imageio.Text // further texts, which only PNG keeps
}

// imageFormats are the values of option samples_format that can be sent.
var imageFormats = []string{"png", "jpg", "jpeg", "webp"}

func formatName(o options.Values) string { return o.Text("samples_format") }

// encodeAll writes pictures as files of the format of the options, several at a
// time, in their order.
func encodeAll(ctx context.Context, images []encodable, o options.Values) ([][]byte, error) {
	files := make([][]byte, len(images))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i, m := range images {
		group.Go(func() error {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if !o.Bool("enable_pnginfo") {
				m.text, m.more = "", nil
			}
			var err error
			files[i], err = encode(m, o)
			return err
		})
	}
	return files, group.Wait()
}

// encode writes one picture in the format of the options.
func encode(m encodable, o options.Values) ([]byte, error) {
	return encodeAs(formatName(o), m, o)
}

// encodeAs writes one picture with its infotext inside. A1111's quality counts for
// JPEG and WebP.
func encodeAs(format string, m encodable, o options.Values) ([]byte, error) {
	quality := min(max(int(o.Int("jpeg_quality")), 1), 100)
	switch format {
	case "png":
		texts := m.more
		if m.text != "" {
			texts = append([]imageio.Text{{Key: "parameters", Value: m.text}}, texts...)
		}
		return imageio.EncodePNG(m.pixels, texts...)
	case "jpg", "jpeg":
		return imageio.EncodeJPEG(m.pixels, quality, m.text)
	case "webp":
		return imageio.EncodeWebP(m.pixels, quality, o.Bool("webp_lossless"), m.text)
	}
	return nil, refuse(http.StatusInternalServerError, "Invalid image format")
}
