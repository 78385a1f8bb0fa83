package sd1_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/sd1"
)

// Tensor and value counts published for the real networks.
func TestCounts(t *testing.T) {
	for name, c := range map[string]struct {
		build   func(*sd1.Net)
		tensors int
		values  int64
	}{
		"UNet":       {func(n *sd1.Net) { n.UNet("", sd1.UNetWidth, 4) }, 686, 859_520_964},
		"inpainting": {func(n *sd1.Net) { n.UNet("", sd1.UNetWidth, 9) }, 686, 859_520_964 + 5*9*320},
		"CLIP":       {func(n *sd1.Net) { n.CLIP("") }, 196, 123_060_480},
		"VAE":        {func(n *sd1.Net) { n.VAE("", sd1.VAEWidth) }, 248, 83_653_863},
		"checkpoint": {func(n *sd1.Net) { n.Checkpoint(sd1.UNetWidth, 4, sd1.VAEWidth) }, 1130, 1_066_235_307},
		"ControlNet": {func(n *sd1.Net) { n.ControlNet("", sd1.UNetWidth) }, 340, 361_279_120},
		"TAESD":      {func(n *sd1.Net) { n.TAESD() }, 134, 2_445_063},
		"ESRGAN":     {func(n *sd1.Net) { n.ESRGAN(4, 23) }, 702, 16_697_987},
		"embedding":  {func(n *sd1.Net) { n.Embedding(8) }, 1, 8 * 768},
	} {
		t.Run(name, func(t *testing.T) {
			var n sd1.Net
			c.build(&n)
			require.Len(t, n, c.tensors)
			var values int64
			names := map[string]bool{}
			for _, p := range n {
				require.False(t, names[p.Name], "%s is there twice", p.Name)
				names[p.Name] = true
				size := int64(1)
				for _, side := range p.Shape {
					size *= side
				}
				values += size
			}
			require.Equal(t, c.values, values)
		})
	}
}

// Both spellings of a LoRA change the same weights with the same factors.
func TestLoRASpellingsAgree(t *testing.T) {
	var kohya, peft sd1.Net
	kohya.LoRAKohya(sd1.UNetWidth)
	peft.LoRADiffusers(sd1.UNetWidth)
	count := func(n sd1.Net) map[string]int {
		shapes := map[string]int{}
		for _, p := range n {
			if p.Role == sd1.Weight {
				shapes[fmt.Sprint(p.Shape)]++
			}
		}
		return shapes
	}
	require.Equal(t, count(kohya), count(peft))
	require.Len(t, kohya, 3*264)
}

func TestSort(t *testing.T) {
	n := sd1.Net{{Name: "b"}, {Name: "a"}}
	n.Sort()
	require.Equal(t, "a", n[0].Name)
}
