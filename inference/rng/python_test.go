package rng_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/inference/rng"
)

// Values of CPython 3.11: random.seed(s), then the calls in the order of the test.
func TestPython(t *testing.T) {
	for _, tc := range []struct {
		seed    int64
		floats  [2]float64
		below   [4]int // of 1, 7, 1000, 2**40
		between int    // randint(-3, 3)
		choice  int    // choices(range(4), [1, 0, 2.5, 3])
		order   [6]int // shuffle(list(range(6)))
	}{
		{0, [2]float64{0.8444218515250481, 0.7579544029403025}, [4]int{0, 0, 265, 891145273829}, 3, 3, [6]int{5, 0, 4, 1, 2, 3}},
		{1, [2]float64{0.13436424411240122, 0.8474337369372327}, [4]int{0, 2, 120, 1037017667747}, 2, 2, [6]int{2, 5, 4, 3, 0, 1}},
		{-5, [2]float64{0.6229016948897019, 0.7417869892607294}, [4]int{0, 6, 476, 245486807181}, -1, 2, [6]int{5, 4, 2, 0, 3, 1}},
		{42, [2]float64{0.6394267984578837, 0.025010755222666936}, [4]int{0, 1, 228, 191320892468}, 1, 2, [6]int{3, 2, 4, 1, 5, 0}},
		{4294967295, [2]float64{0.6353574441341173, 0.20319993954407756}, [4]int{0, 4, 348, 841648681727}, 2, 3, [6]int{4, 0, 1, 3, 5, 2}},
		{4294967296, [2]float64{0.11299430095636409, 0.41782886486292836}, [4]int{0, 0, 626, 729123668833}, 3, 3, [6]int{2, 5, 4, 1, 0, 3}},
		{4611686018427400249, [2]float64{0.4898862820590555, 0.9292118718366098}, [4]int{0, 4, 990, 1018303858663}, 1, 3, [6]int{1, 4, 3, 2, 5, 0}},
	} {
		p := rng.NewPython(tc.seed)
		require.Equal(t, [2]float64{p.Float64(), p.Float64()}, tc.floats, tc.seed)
		require.Equal(t, [4]int{p.Below(1), p.Below(7), p.Below(1000), p.Below(1 << 40)}, tc.below, tc.seed)
		require.Equal(t, tc.between, p.Between(-3, 3), tc.seed)
		at, err := p.Weighted([]float64{1, 1, 3.5, 6.5})
		require.NoError(t, err)
		require.Equal(t, tc.choice, at, tc.seed)
		order := [6]int{0, 1, 2, 3, 4, 5}
		p.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
		require.Equal(t, tc.order, order, tc.seed)
	}
	_, err := rng.NewPython(1).Weighted([]float64{0, 0})
	require.ErrorIs(t, err, rng.ErrWeights)
}

// Values of numpy 1.26: numpy.random.seed(s), then numpy.random.random_sample() twice.
func TestNumPy(t *testing.T) {
	for seed, want := range map[uint32][2]float64{
		0:          {0.5488135039273248, 0.7151893663724195},
		1:          {0.417022004702574, 0.7203244934421581},
		42:         {0.3745401188473625, 0.9507143064099162},
		4294967295: {0.0976320289940138, 0.9123828453026218},
	} {
		n := rng.NewNumPy(seed)
		require.Equal(t, want, [2]float64{n.Float64(), n.Float64()}, seed)
	}
}
