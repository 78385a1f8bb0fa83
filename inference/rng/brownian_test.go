package rng_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/inference/rng"
	"sdworker/internal/vectors"
)

type brownianCase struct {
	Kind, ID, Source, Entropy string

	SpawnKey []string `json:"spawn_key"`
	PoolSize int      `json:"pool_size"`
	State    []uint32

	T0, T1, Ta, Tb float64
	Shape          []int
	Increments     []struct {
		Ta, Tb float64
		tensor
	}
	SplitNodes []struct {
		Start, End, Midway float64
		SpawnKey           string `json:"spawn_key"`
		Depth              uint64
		Seed               uint32 `json:"w_seed"`
	} `json:"split_nodes"`

	Seeds    []string
	SigmaMin float32 `json:"sigma_min"`
	SigmaMax float32 `json:"sigma_max"`
	Calls    []struct {
		Sigma float32
		Next  float32 `json:"sigma_next"`
		Noise []tensor
	}
}

const brownianTolerance = 1e-5

func TestBrownian(t *testing.T) {
	var file struct{ Cases []brownianCase }
	vectors.Load(t, "numeric/brownian.json", &file)
	require.NotEmpty(t, file.Cases)
	checks := map[string]func(*testing.T, brownianCase){
		"seed_sequence": checkSeedSequence,
		"tree":          checkTree,
		"tree_nodes":    checkTreeNodes,
		"noise_sampler": checkBrownianNoise,
	}
	for _, tc := range file.Cases {
		t.Run(tc.ID, func(t *testing.T) {
			require.Contains(t, checks, tc.Kind)
			checks[tc.Kind](t, tc)
		})
	}
}

func checkSeedSequence(t *testing.T, tc brownianCase) {
	var key []uint64
	for _, k := range tc.SpawnKey {
		key = append(key, number(t, k))
	}
	require.Equal(t, tc.State, rng.SeedSequence(number(t, tc.Entropy), key, tc.PoolSize, len(tc.State)))
}

func checkTree(t *testing.T, tc brownianCase) {
	tree := rng.NewTree(source(t, tc.Source), number(t, tc.Entropy), tc.T0, tc.T1, size(tc.Shape))
	got := make([]float32, size(tc.Shape))
	for _, want := range tc.Increments {
		tree.Increment(got, want.Ta, want.Tb)
		want.check(t, got, brownianTolerance)
	}
}

func checkTreeNodes(t *testing.T, tc brownianCase) {
	tree := rng.NewTree(rng.NV, number(t, tc.Entropy), tc.T0, tc.T1, 16)
	tree.Increment(make([]float32, 16), tc.Ta, tc.Tb)
	var want []rng.SplitNode
	for _, n := range tc.SplitNodes {
		want = append(want, rng.SplitNode{
			Start: n.Start, End: n.End, Midway: n.Midway,
			Key: number(t, n.SpawnKey), Depth: n.Depth, Seed: n.Seed,
		})
	}
	require.ElementsMatch(t, want, tree.SplitNodes())
}

func checkBrownianNoise(t *testing.T, tc brownianCase) {
	shape := rng.Shape{C: tc.Shape[0], H: tc.Shape[1], W: tc.Shape[2]}
	noise := rng.NewBrownian(source(t, tc.Source), numbers(t, tc.Seeds), shape, tc.SigmaMin, tc.SigmaMax)
	got := make([]float32, len(tc.Seeds)*shape.Len())
	for _, call := range tc.Calls {
		noise.Noise(got, call.Sigma, call.Next)
		require.Len(t, call.Noise, len(tc.Seeds))
		for i, want := range call.Noise {
			want.check(t, got[i*shape.Len():(i+1)*shape.Len()], brownianTolerance)
		}
	}
}

// What the tree forgets between questions must come back unchanged.
func TestBrownianPathDoesNotDependOnTheOrderOfQuestions(t *testing.T) {
	const size = 16
	steps := [][2]float64{{5, 14}, {2, 5}, {2.5, 5}, {0.3, 2}, {0.03, 0.3}, {5, 14}, {2, 5}}
	walked := rng.NewTree(rng.CPU, 7, 0.0292, 14.6146, size)
	got, want := make([]float32, size), make([]float32, size)
	for _, s := range steps {
		walked.Increment(got, s[0], s[1])
		rng.NewTree(rng.CPU, 7, 0.0292, 14.6146, size).Increment(want, s[0], s[1])
		require.Equal(t, want, got, "step %v", s)
	}
}

func TestBrownianNoiseOfAnEmptyStepIsZero(t *testing.T) {
	shape := rng.Shape{C: 1, H: 2, W: 2}
	noise := rng.NewBrownian(rng.NV, []int64{1}, shape, 0.03, 14)
	got := []float32{9, 9, 9, 9}
	noise.Noise(got, 2, 2)
	require.Equal(t, make([]float32, 4), got)
}

func TestPreparedNoiseIsTheSame(t *testing.T) {
	shape := rng.Shape{C: 1, H: 2, W: 2}
	plain := rng.NewBrownian(rng.NV, []int64{1, 2}, shape, 0.03, 14)
	ahead := rng.NewBrownian(rng.NV, []int64{1, 2}, shape, 0.03, 14)
	defer ahead.Close()
	want, got := make([]float32, 8), make([]float32, 8)
	for _, step := range [][4]float32{
		{14, 5, 14, 5},
		{5, 2, 5, 3}, // prepared for another step
		{3, 1, 3, 1},
	} {
		ahead.Prepare(step[0], step[1])
		ahead.Noise(got, step[2], step[3])
		plain.Noise(want, step[2], step[3])
		require.Equal(t, want, got)
	}
	ahead.Prepare(1, 0.5)
}
