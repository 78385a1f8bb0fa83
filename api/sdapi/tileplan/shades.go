package tileplan

import (
	"math"

	"sdworker/inference/imageio"
)

// gradientSide is that of Pillow's gradients.
const gradientSide = 256

// ridge rises from black at the top to white in the middle and falls again, by
// Pillow's linear gradient stretched over each half.
func ridge(w, h int) imageio.Gray {
	rising, falling := imageio.NewGray(1, gradientSide), imageio.NewGray(1, gradientSide)
	for y := range gradientSide {
		rising.Pix[y], falling.Pix[y] = uint8(y), uint8(gradientSide-1-y)
	}
	out := imageio.NewGray(w, h)
	if h < 2 {
		return out
	}
	// Rows are of one shade, so that one column says it all.
	for i, half := range []imageio.Gray{rising, falling} {
		for y, shade := range half.Resize(1, h/2, imageio.Bicubic).Pix {
			row := out.Pix[(i*(h/2)+y)*w:][:w]
			for x := range row {
				row[x] = shade
			}
		}
	}
	return out
}

// cone is Pillow's radial gradient: black in the middle.
func cone() imageio.Gray {
	out := imageio.NewGray(gradientSide, gradientSide)
	for i := range out.Pix {
		x, y := float64(i%gradientSide-gradientSide/2), float64(i/gradientSide-gradientSide/2)
		out.Pix[i] = uint8(min(math.Sqrt(2*(x*x+y*y)), 255))
	}
	return out
}

// transposed has rows and columns exchanged.
func transposed(m imageio.Gray) imageio.Gray {
	out := imageio.NewGray(m.H, m.W)
	for i, v := range m.Pix {
		out.Pix[i%m.W*m.H+i/m.W] = v
	}
	return out
}
