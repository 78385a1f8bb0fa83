package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/internal/judge"
)

func TestPrompts(t *testing.T) {
	one, two := lines(oneThing), lines(twoThings)
	require.Len(t, one, 120)
	require.Len(t, two, 40)
	for _, prompt := range append(one, two...) {
		_, err := judge.Expect(prompt)
		require.NoError(t, err)
	}
	require.Equal(t, []string{one[0], one[50], one[100]}, each(one, 50))
}
