package hint

// visionSide is the size of the pictures that CLIP's image encoder takes.
const visionSide = 224

// Mean and deviation of the pictures that CLIP was trained on.
var (
	visionMean      = [3]float64{0.48145466, 0.4578275, 0.40821073}
	visionDeviation = [3]float64{0.26862954, 0.26130258, 0.27577711}
)

// Vision prepares a picture for CLIP's image encoder as the ControlNet extension does:
// stretched to 224x224 pixels, whatever its sides, then less the mean and by the
// deviation. What is masked becomes 0, which is the mean. The result is planar
// [3,224,224].
func Vision(p Picture) []float32 {
	m := resample(p.RGB, visionSide, visionSide, area)
	const plane = visionSide * visionSide
	out := make([]float32, 3*plane)
	for i := range plane {
		for c := range 3 {
			out[c*plane+i] = (float32(float64(m.Pix[3*i+c])*(1.0/255)) - float32(visionMean[c])) / float32(visionDeviation[c])
		}
	}
	if p.Mask == nil {
		return out
	}
	mask := resample(p.Mask.RGB(), visionSide, visionSide, area)
	for i := range plane {
		for c := range 3 {
			out[c*plane+i] *= float32(255-mask.Pix[3*i]) / 255
		}
	}
	return out
}
