package convnet

import "math"

// tokens computes what acts on rows of features.
func (e *evaluation) tokens() {
	n, width := e.node, e.size.Channels
	switch n.Op {
	case Tokens:
		for i := range e.out {
			e.out[i] = e.a[i%width*e.size.H+i/width]
		}
	case Cells:
		for i := range e.out {
			plane := e.size.H * e.size.W
			e.out[i] = e.a[i%plane*width+i/plane]
		}
	case Linear:
		e.linear(width)
	case LayerNorm:
		for at := 0; at < len(e.out); at += width {
			e.normalize(e.out[at:at+width], e.a[at:at+width])
		}
	case Attention:
		head := width / n.Factor
		for row := range e.size.H {
			for first := 0; first < width; first += head {
				e.attend(row*width+first, width, head)
			}
		}
	case Array:
		copy(e.out, e.weight)
	case Take:
		copy(e.out, e.a[n.First*width:])
	default: // Lines and Fold lie as what they are made of
		copy(e.out, e.a)
	}
}

func (e *evaluation) linear(width int) {
	in := e.in.Channels
	for i := range e.out {
		row, weight := e.a[i/width*in:][:in], e.weight[i%width*in:][:in]
		sum := float64(0)
		for k, v := range row {
			sum += float64(v) * float64(weight[k])
		}
		if e.bias != nil {
			sum += float64(e.bias[i%width])
		}
		e.out[i] = float32(sum)
	}
}

func (e *evaluation) normalize(to, row []float32) {
	var sum, squares float64
	for _, v := range row {
		sum += float64(v)
	}
	mean := sum / float64(len(row))
	for _, v := range row {
		squares += (float64(v) - mean) * (float64(v) - mean)
	}
	deviation := math.Sqrt(squares/float64(len(row)) + float64(e.node.Scale))
	for i, v := range row {
		to[i] = float32((float64(v)-mean)/deviation*float64(e.weight[i]) + float64(e.bias[i]))
	}
}

// attend computes one head of one query, which begins at position at.
func (e *evaluation) attend(at, width, head int) {
	keys := len(e.b) / width
	shares := make([]float64, keys)
	total := 0.0
	for k := range shares {
		dot := 0.0
		for i := range head {
			dot += float64(e.a[at+i]) * float64(e.b[k*width+at%width+i])
		}
		shares[k] = math.Exp(dot / math.Sqrt(float64(head)))
		total += shares[k]
	}
	for i := range head {
		sum := 0.0
		for k, share := range shares {
			sum += share / total * float64(e.c[k*width+at%width+i])
		}
		e.out[at+i] = float32(sum)
	}
}
