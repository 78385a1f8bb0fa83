package sdcpp

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/inference"
	"sdworker/internal/fileid"
)

// Slots keep what calls use by turns, whatever their number, and give up what was not
// used for long; never what the call in hand needs.
func TestControlNetsStayLoaded(t *testing.T) {
	var slots controlSlots
	reads := 0
	call := func(names ...string) {
		for _, name := range names {
			slot := slots.find(name)
			if slot < 0 {
				reads++
				slot = slots.free(names)
				require.GreaterOrEqual(t, slot, 0)
				slots.put(slot, &source{id: fileid.ID{Path: name}})
			}
			slots.use(slot)
		}
		for _, name := range names {
			require.GreaterOrEqual(t, slots.find(name), 0)
		}
	}
	loaded := func() (n int) {
		for _, s := range slots.sources {
			if s != nil {
				n++
			}
		}
		return n
	}
	for range 30 { // steps of one job, and of two that take turns
		call("a", "b", "c", "d", "e")
	}
	require.Equal(t, 5, reads)
	for range 30 {
		call("a", "b", "c", "d")
		call("f", "g", "h")
	}
	require.Equal(t, 8, reads)
	require.Equal(t, 8, loaded())

	for range recentUses { // what others used long ago makes room
		call("a")
	}
	call("z")
	require.Equal(t, 8, loaded())
	require.Equal(t, -1, slots.find("e"))

	var all []string
	for i := range inference.MaxControlUnits {
		all = append(all, fmt.Sprint("unit ", i))
	}
	call(all...)
	require.Equal(t, inference.MaxControlUnits, loaded())
	slots.sources[4].stale = true
	replaced := slots.sources[4].id.Path
	slots.sources[4].id.Path = "as it was"
	require.Equal(t, 4, slots.free(all))
	slots.put(4, nil)
	require.Equal(t, 4, slots.free(all))
	require.Equal(t, -1, slots.find(replaced))
	require.Equal(t, -1, slots.oldest(all))
}
