package imageio

import "math"

// GridRows is the number of rows A1111 arranges n pictures in. rows is the option
// n_rows: above 0 it is the answer, 0 stands for the batch size, below 0 for a
// square; preventEmpty then avoids gaps (option grid_prevent_empty_spots).
func GridRows(n, rows, batchSize int, preventEmpty bool) int {
	switch {
	case rows > 0:
	case rows == 0:
		rows = batchSize
	case preventEmpty:
		rows = int(math.Sqrt(float64(n)))
		for n%rows != 0 {
			rows--
		}
	default:
		rows = int(math.RoundToEven(math.Sqrt(float64(n))))
	}
	return max(min(rows, n), 1)
}

// Grid pastes pictures of the size of the first one into rows, from left to
// right; gaps are black. There must be at least one.
func Grid(pictures []RGB, rows int) RGB {
	columns := (len(pictures) + rows - 1) / rows
	w, h := pictures[0].W, pictures[0].H
	out := NewRGB(columns*w, rows*h)
	for i, m := range pictures {
		out.Paste(m, i%columns*w, i/columns*h)
	}
	return out
}
