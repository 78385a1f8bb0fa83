package infotext

import (
	"slices"

	"sdworker/inference"
)

// Values of inpainting_fill; 1, "original", is not recorded.
const (
	contentFill    = 0
	contentNoise   = 2
	contentNothing = 3
)

// mask is the one that is told, nil for none. A blank mask with "only masked" is none
// in A1111.
func (p Params) mask() *inference.Mask {
	if p.Request.Init == nil || p.Request.Init.Mask == nil {
		return nil
	}
	if m := p.Request.Init.Mask; !m.OnlyMasked || !blank(m) {
		return m
	}
	return nil
}

// blank reports whether a mask, inverted where asked, leaves nothing to repaint.
func blank(m *inference.Mask) bool {
	keep := uint8(0)
	if m.Invert {
		keep = 255
	}
	return !slices.ContainsFunc(m.Image.Pix, func(v uint8) bool { return v != keep })
}

// maskEntries are the keys known before the init image is encoded.
func maskEntries(t *table, m *inference.Mask) {
	if m == nil {
		return
	}
	t.set("Mask mode", when(m.Invert, "Inpaint not masked"))
	t.set("Mask blur", when(m.BlurX > 0 && m.BlurX == m.BlurY, m.BlurX))
	t.set("Inpaint area", when(m.OnlyMasked, "Only masked"))
	t.set("Masked area padding", when(m.OnlyMasked, m.Padding))
	if m.Fill == contentFill {
		t.set("Masked content", "fill")
	}
}

// latentMaskEntries are the contents that are filled in after encoding.
func latentMaskEntries(t *table, m *inference.Mask) {
	if m == nil {
		return
	}
	switch m.Fill {
	case contentNoise:
		t.set("Masked content", "latent noise")
	case contentNothing:
		t.set("Masked content", "latent nothing")
	}
}

// maskTexts are the values of keys that A1111's page shows as choices, in their order.
var maskTexts = []struct {
	key, field string
	values     []string
}{
	{"Mask mode", "inpainting_mask_invert", []string{"Inpaint masked", "Inpaint not masked"}},
	{"Masked content", "inpainting_fill", []string{"fill", "original", "latent noise", "latent nothing"}},
}

var maskNumbers = []target{
	{"Mask blur", "mask_blur", toInt},
	{"Masked area padding", "inpaint_full_res_padding", toInt},
}

// setMask sets the fields of inpainting.
func (f Fields) setMask(fields map[string]any) error {
	if area, ok := f["Inpaint area"]; ok {
		fields["inpaint_full_res"] = area == "Only masked"
	}
	for _, t := range maskTexts {
		if i := slices.Index(t.values, f.text(t.key)); i >= 0 {
			fields[t.field] = int64(i)
		}
	}
	return f.set(fields, maskNumbers)
}
