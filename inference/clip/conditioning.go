package clip

// PadLast lengthens a conditioning to the given number of tokens with copies of its
// last vector. One that is long enough is returned as it is.
func PadLast(conditioning []float32, width, tokens int) []float32 {
	missing := tokens - len(conditioning)/width
	if missing <= 0 {
		return conditioning
	}
	padded := make([]float32, 0, tokens*width)
	padded = append(padded, conditioning...)
	last := conditioning[len(conditioning)-width:]
	for range missing {
		padded = append(padded, last...)
	}
	return padded
}

// PadEmpty lengthens a conditioning to the given number of tokens with copies of empty,
// the conditioning of the empty prompt.
func PadEmpty(conditioning, empty []float32, width, tokens int) []float32 {
	if len(conditioning) >= tokens*width {
		return conditioning
	}
	padded := make([]float32, 0, tokens*width)
	padded = append(padded, conditioning...)
	for len(padded) < tokens*width {
		padded = append(padded, empty...)
	}
	return padded[:tokens*width]
}
