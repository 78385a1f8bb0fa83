package rng

import "slices"

// poolWords is the entropy pool that torchsde asks of numpy's SeedSequence.
const poolWords = 24

// seedSequence computes n words of numpy's SeedSequence(entropy, spawn_key,
// pool_size).generate_state: the hash of M. E. O'Neill's randutils seed_seq.
// Entropy and the elements of the spawn key are non-negative.
func seedSequence(entropy uint64, spawnKey []uint64, pool, n int) []uint32 {
	words := appendWords(nil, entropy)
	if len(spawnKey) > 0 {
		// Zero fill keeps keys from colliding with longer entropies.
		for len(words) < pool {
			words = append(words, 0)
		}
		for _, key := range spawnKey {
			words = appendWords(words, key)
		}
	}

	const (
		initA, mulA = 0x43B0D7E5, 0x931E8875
		initB, mulB = 0x8B51F9DD, 0x58F38DED
		mixL, mixR  = 0xCA01F9DD, 0x4973F715
	)
	h := uint32(initA)
	scramble := func(v uint32) uint32 {
		v ^= h
		h *= mulA
		v *= h
		return v ^ v>>16
	}
	mix := func(x, y uint32) uint32 {
		r := mixL*x - mixR*y
		return r ^ r>>16
	}

	state := make([]uint32, pool)
	for i := range state {
		var w uint32
		if i < len(words) {
			w = words[i]
		}
		state[i] = scramble(w)
	}
	for i := range state {
		for j := range state {
			if i != j {
				state[j] = mix(state[j], scramble(state[i]))
			}
		}
	}
	for _, w := range words[min(pool, len(words)):] {
		for j := range state {
			state[j] = mix(state[j], scramble(w))
		}
	}

	out := make([]uint32, n)
	h = initB
	for i := range out {
		v := state[i%pool] ^ h
		h *= mulB
		v *= h
		out[i] = v ^ v>>16
	}
	return out
}

// appendWords splits v into 32-bit words, low first, at least one.
func appendWords(words []uint32, v uint64) []uint32 {
	words = append(slices.Clip(words), uint32(v))
	if v>>32 != 0 {
		words = append(words, uint32(v>>32))
	}
	return words
}
