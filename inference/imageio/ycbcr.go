package imageio

import "image"

// colourMatrix turns one sample of luma and chroma into RGB.
type colourMatrix func(y, cb, cr uint8) (r, g, b uint8)

// jfif is the full-range matrix of JPEG files, in 16-bit fixed point.
func jfif(y, cb, cr uint8) (r, g, b uint8) {
	yy := int32(y)<<16 + 1<<15
	u, v := int32(cb)-128, int32(cr)-128
	return clip16(yy + 91881*v), clip16(yy - 22554*u - 46802*v), clip16(yy + 116130*u)
}

func clip16(v int32) uint8 { return uint8(min(max(v>>16, 0), 255)) }

// bt601 is the limited-range matrix of WebP (libwebp, src/dsp/yuv.h), which the
// standard library's YCbCr does not know.
func bt601(y, cb, cr uint8) (r, g, b uint8) {
	high := func(v uint8, coefficient int32) int32 { return int32(v) * coefficient >> 8 }
	luma := high(y, 19077)
	return clip6(luma + high(cr, 26149) - 14234),
		clip6(luma - high(cb, 6419) - high(cr, 13320) + 8708),
		clip6(luma + high(cb, 33050) - 17685)
}

func clip6(v int32) uint8 { return uint8(min(max(v>>6, 0), 255)) }

// ycbcrPixels converts with smooth chroma: halved chroma is interpolated with
// weights 3/4 and 1/4 as libjpeg ("fancy upsampling") and libwebp do, where the
// standard library repeats samples.
func ycbcrPixels(out RGBA, m *image.YCbCr, convert colourMatrix) {
	b := m.Bounds()
	halfX, halfY := false, false
	switch m.SubsampleRatio {
	case image.YCbCrSubsampleRatio422:
		halfX = true
	case image.YCbCrSubsampleRatio420:
		halfX, halfY = true, true
	default: // whole chroma, or quarters that nobody interpolates
	}
	cw, ch := b.Dx(), b.Dy()
	if halfX {
		cw = (cw + 1) / 2
	}
	if halfY {
		ch = (ch + 1) / 2
	}
	smooth := m.SubsampleRatio == image.YCbCrSubsampleRatio444 || halfX
	cb, cr := make([]uint8, out.W), make([]uint8, out.W)
	for y := range out.H {
		luma := m.Y[m.YOffset(b.Min.X, b.Min.Y+y):]
		if smooth {
			chromaRow(cb, m.Cb, m.CStride, cw, ch, y, halfX, halfY)
			chromaRow(cr, m.Cr, m.CStride, cw, ch, y, halfX, halfY)
		} else {
			for x := range out.W {
				at := m.COffset(b.Min.X+x, b.Min.Y+y)
				cb[x], cr[x] = m.Cb[at], m.Cr[at]
			}
		}
		for x := range out.W {
			p := out.Pix[4*(y*out.W+x):][:4]
			p[0], p[1], p[2] = convert(luma[x], cb[x], cr[x])
			p[3] = 255
		}
	}
}

// chromaRow interpolates one row of a chroma plane of cw by ch samples to the
// full width. Sums are in sixteenths with both axes halved, else in quarters.
func chromaRow(out, plane []uint8, stride, cw, ch, y int, halfX, halfY bool) {
	row := func(y int) []uint8 { return plane[min(max(y, 0), ch-1)*stride:][:cw] }
	if !halfX {
		copy(out, row(y))
		return
	}
	near, far := row(y), row(y)
	if halfY {
		near = row(y / 2)
		far = row(y/2 - 1 + y%2*2)
	}
	for x := range out {
		i := x / 2
		j := min(max(i-1+x%2*2, 0), cw-1)
		here, beside := 3*int(near[i])+int(far[i]), 3*int(near[j])+int(far[j])
		out[x] = uint8((3*here + beside + 8 - x%2) >> 4)
	}
}
