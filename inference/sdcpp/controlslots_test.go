package sdcpp

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/fault"
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

// Where memory holds fewer networks than there are slots, those that were not used for
// longest go, as many as it takes; a call that needs more than there is room for fails
// and leaves the others usable.
func TestControlNetsMakeRoom(t *testing.T) {
	var slots controlSlots
	size := map[string]int{"a": 1, "b": 1, "c": 1, "large": 3, "too large": 4}
	const memory = 3
	loads := 0
	call := func(names ...string) error {
		for _, name := range names {
			slot, err := slots.take(name, names, func(slot int) error {
				loads++
				slots.put(slot, nil)
				used := size[name]
				for _, s := range slots.sources {
					if s != nil {
						used += size[s.id.Path]
					}
				}
				if used > memory {
					return fault.Errorf(fault.Exhausted, "controlnet", "no memory")
				}
				slots.put(slot, &source{id: fileid.ID{Path: name}})
				return nil
			})
			if err != nil {
				return err
			}
			require.Equal(t, slot, slots.find(name))
		}
		return nil
	}
	loaded := func() (names []string) {
		for _, s := range slots.sources {
			if s != nil {
				names = append(names, s.id.Path)
			}
		}
		slices.Sort(names)
		return names
	}
	require.NoError(t, call("a", "b", "c"))
	require.NoError(t, call("a", "c"))
	require.Equal(t, []string{"a", "b", "c"}, loaded())
	require.Equal(t, 3, loads)

	size["d"] = 1
	require.NoError(t, call("d"))
	require.Equal(t, []string{"a", "c", "d"}, loaded(), "b was not used for longest")
	require.NoError(t, call("large"))
	require.Equal(t, []string{"large"}, loaded(), "all of them make room")

	require.Equal(t, fault.Exhausted, fault.CodeOf(call("a", "large")))
	require.Equal(t, []string{"large"}, loaded(), "what the call needs stays")
	require.Equal(t, fault.Exhausted, fault.CodeOf(call("too large")))
	require.NoError(t, call("a", "b", "c"))
	require.Equal(t, []string{"a", "b", "c"}, loaded())
}
