package sd1

import "strconv"

// ESRGAN adds an RRDB upscaler by a factor of 1, 2 or 4 with the given number of
// blocks: 23 in the usual files, 6 in the one for anime.
func (n *Net) ESRGAN(factor, blocks int) {
	const feat, grow = 64, 32
	n.conv("conv_first", 3, feat, 3)
	for i := range blocks {
		for j := 1; j <= 3; j++ {
			dense := at("body", i) + ".rdb" + strconv.Itoa(j)
			for k := range int64(4) {
				n.conv(dense+".conv"+strconv.Itoa(int(k)+1), feat+k*grow, grow, 3)
			}
			n.conv(dense+".conv5", feat+4*grow, feat, 3)
		}
	}
	layers := []string{"conv_body", "conv_hr"}
	if factor >= 2 {
		layers = append(layers, "conv_up1")
	}
	if factor >= 4 {
		layers = append(layers, "conv_up2")
	}
	for _, name := range layers {
		n.conv(name, feat, feat, 3)
	}
	n.conv("conv_last", feat, 3, 3)
}
