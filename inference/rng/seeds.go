package rng

// ImageSeeds lists the seeds and variation seeds of n images that share one
// request. Image i has seed+i, or the seed itself while a variation is asked
// for (strength not 0), and always subseed+i.
func ImageSeeds(seed, subseed int64, strength float64, n int) (seeds, subseeds []int64) {
	seeds, subseeds = make([]int64, n), make([]int64, n)
	for i := range n {
		seeds[i] = seed
		if strength == 0 {
			seeds[i] += int64(i)
		}
		subseeds[i] = subseed + int64(i)
	}
	return seeds, subseeds
}
