package sdapi_test

import (
	"encoding/base64"
	"encoding/xml"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/api/sdapi"
	"sdworker/api/sdapi/picture"
	"sdworker/inference/imageio"
)

// sourceType reads the digital source type of a packet as RDF says.
func sourceType(t *testing.T, packet string) string {
	t.Helper()
	var meta struct {
		RDF struct {
			Description struct {
				Source string `xml:"http://iptc.org/std/Iptc4xmpExt/2008-02-29/ DigitalSourceType,attr"`
			} `xml:"http://www.w3.org/1999/02/22-rdf-syntax-ns# Description"`
		} `xml:"http://www.w3.org/1999/02/22-rdf-syntax-ns# RDF"`
	}
	require.NoError(t, xml.Unmarshal([]byte(packet), &meta))
	return meta.RDF.Description.Source
}

func TestProvenance(t *testing.T) {
	plain, marking := start(t), start(t, func(c *sdapi.Config) { c.Provenance = picture.ProvenanceIPTC })
	const generated = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
	for _, format := range []string{"png", "jpg", "webp"} {
		body := small(map[string]any{"prompt": "a fox", "override_settings": map[string]any{"samples_format": format}})
		without := plain.post("/sdapi/v1/txt2img", body).generated(t).images[0]
		require.Empty(t, imageio.XMP(without), format)
		with := marking.post("/sdapi/v1/txt2img", body).generated(t).images[0]
		require.Equal(t, generated, sourceType(t, imageio.XMP(with)), format)
		require.Equal(t, imageio.ReadInfo(without).Parameters, imageio.ReadInfo(with).Parameters)
	}
	inpainted := marking.post("/sdapi/v1/img2img", small(map[string]any{"init_images": []string{encoded(t, 64, 64)}, "mask": maskPicture(t, 64, 64)})).generated(t).images[0]
	require.Equal(t, "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia", sourceType(t, imageio.XMP(inpainted)))
	changed := marking.post("/sdapi/v1/img2img", small(map[string]any{"init_images": []string{encoded(t, 64, 64)}})).generated(t).images[0]
	require.Equal(t, generated, sourceType(t, imageio.XMP(changed)))

	extra := func(image string) string {
		answer := marking.post("/sdapi/v1/extra-single-image", map[string]any{"image": image, "upscaling_resize": 2, "upscaler_1": "Lanczos"}).object(t)
		file, err := base64.StdEncoding.DecodeString(answer["image"].(string))
		require.NoError(t, err)
		return sourceType(t, imageio.XMP(file))
	}
	require.Equal(t, generated, extra(base64.StdEncoding.EncodeToString(changed)))
	require.Equal(t, "http://cv.iptc.org/newscodes/digitalsourcetype/algorithmicallyEnhanced", extra(encoded(t, 16, 16)))
}
