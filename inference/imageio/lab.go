package imageio

import (
	"math"
	"sync"
)

// This file is the 8-bit conversion between sRGB and CIE L*a*b* in OpenCV's fixed
// point (modules/imgproc/src/color_lab.cpp), white point D65, L scaled to 0..255,
// a and b shifted by 128.

const (
	labShift    = 12 // fractional bits of matrix coefficients
	gammaShift  = 3  // extra bits of linear light
	fShift      = labShift + gammaShift
	labBase     = 1 << 14 // 1.0 on the way back
	backShift   = labShift + 14 - inverseBits
	inverseBits = 12 // bits of linear light on the way back
	minF        = -8145
)

var toXYZ = [3][3]float64{{0.412453, 0.357580, 0.180423}, {0.212671, 0.715160, 0.072169}, {0.019334, 0.119193, 0.950227}}

var fromXYZ = [3][3]float64{{3.240479, -1.53715, -0.498535}, {-0.969256, 1.875991, 0.041556}, {0.055648, -0.204043, 1.057311}}

var whitePoint = [3]float64{0.950456, 1, 1.088754}

// labTables are computed on first use.
type labTables struct {
	linear   [256]int // byte to linear light, times 255*8
	cubeRoot [256 * 3 / 2 << gammaShift]int
	forward  [3][3]int
	back     [3][3]int
	lightY   [256]int             // L to Y
	lightF   [256]int             // L to f(Y)
	cube     [labBase * 9 / 4]int // f(X) or f(Z), from minF, to X or Z
	gamma    [1 << inverseBits]uint8
}

var lab = sync.OnceValue(func() *labTables {
	t := new(labTables)
	for i := range t.linear {
		v := float64(i) / 255
		if v <= 0.04045 {
			v /= 12.92
		} else {
			v = math.Pow((v+0.055)/1.055, 2.4)
		}
		t.linear[i] = round(255 * (1 << gammaShift) * v)
	}
	for i := range t.cubeRoot {
		// The quotient has single precision in OpenCV, which decides some roundings.
		v := float64(float32(i) / (255 * (1 << gammaShift)))
		if v < 216.0/24389 {
			v = v*(24389.0/27/116) + 16.0/116
		} else {
			v = math.Cbrt(v)
		}
		t.cubeRoot[i] = round((1 << fShift) * v)
	}
	for i := range 3 {
		for j := range 3 {
			t.forward[i][j] = round((1 << labShift) * toXYZ[i][j] / whitePoint[i])
			t.back[i][j] = round((1 << labShift) * fromXYZ[i][j] * whitePoint[j])
		}
	}
	for i := range t.lightY {
		if i <= 20 { // L below 8
			t.lightY[i] = round(float64(i*labBase*20*9) / (17 * 29 * 29 * 29))
			t.lightF[i] = round(labBase * (16.0/116 + float64(i*5)/(3*17*29)))
			continue
		}
		f := float64(i*100*labBase)/(255*116) + 16*labBase/116.0
		t.lightF[i] = round(f)
		t.lightY[i] = round(f * f * f / (labBase * labBase))
	}
	for k := range t.cube {
		i := k + minF
		if i <= 3390 { // f below 6/29
			t.cube[k] = i*108/841 - labBase*16/116*108/841
		} else {
			t.cube[k] = i * i / labBase * i / labBase
		}
	}
	for i := range t.gamma {
		v := float64(i) / (1 << inverseBits)
		if v <= 0.0031308 {
			v *= 12.92
		} else {
			v = 1.055*math.Pow(v, 1/2.4) - 0.055
		}
		t.gamma[i] = uint8(round(255 * v))
	}
	return t
})

func round(v float64) int { return int(math.RoundToEven(v)) }

func descale(v, shift int) int { return (v + 1<<(shift-1)) >> shift }

func clip8(v int) uint8 { return uint8(min(max(v, 0), 255)) }

// ToLab converts to three planes: L times 2.55, a and b plus 128.
func ToLab(m RGB) [3][]uint8 {
	const lScale, lShift = (116*255 + 50) / 100, -((16*255*(1<<fShift) + 50) / 100)
	t := lab()
	var out [3][]uint8
	for c := range out {
		out[c] = make([]uint8, m.W*m.H)
	}
	for i := range out[0] {
		r, g, b := t.linear[m.Pix[3*i]], t.linear[m.Pix[3*i+1]], t.linear[m.Pix[3*i+2]]
		var f [3]int
		for c, k := range t.forward {
			f[c] = t.cubeRoot[descale(r*k[0]+g*k[1]+b*k[2], labShift)]
		}
		out[0][i] = clip8(descale(lScale*f[1]+lShift, fShift))
		out[1][i] = clip8(descale(500*(f[0]-f[1])+128<<fShift, fShift))
		out[2][i] = clip8(descale(200*(f[1]-f[2])+128<<fShift, fShift))
	}
	return out
}

// FromLab converts what ToLab gives back, w by h pixels.
func FromLab(planes [3][]uint8, w, h int) RGB {
	t := lab()
	out := NewRGB(w, h)
	for i := range planes[0] {
		l, a, b := int(planes[0][i]), int(planes[1][i]), int(planes[2][i])
		f := t.lightF[l]
		x := t.cube[f+(5*a*53687+1<<7)>>13-128*labBase/500-minF]
		z := t.cube[f-((b*41943+1<<4)>>9-128*labBase/200+1)-minF]
		for c, k := range t.back {
			v := descale(k[0]*x+k[1]*t.lightY[l]+k[2]*z, backShift)
			out.Pix[3*i+c] = t.gamma[min(max(v, 0), 1<<inverseBits-1)]
		}
	}
	return out
}
