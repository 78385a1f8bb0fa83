package sdcpp

import (
	"slices"

	"sdworker/fault"
	"sdworker/inference"
)

// controlSlots knows which ControlNets are loaded, each in a slot of the native side.
type controlSlots struct {
	sources [inference.MaxControlUnits]*source // nil for an empty slot
	used    [inference.MaxControlUnits]int     // turn of the last use
	turn    int
}

// Jobs that paint at the same time take turns with their ControlNets, so that one which
// was used a short while ago will be used again at the next step. Up to keptControls
// stay loaded beyond that.
const (
	keptControls = 3
	recentUses   = 100
)

// find returns the slot that a file is in, -1 for none.
func (c *controlSlots) find(path string) int {
	return slices.IndexFunc(c.sources[:], func(s *source) bool { return s.is(path) })
}

// use notes that the network of a slot takes part in a call.
func (c *controlSlots) use(slot int) {
	c.turn++
	c.used[slot] = c.turn
}

// take returns the slot that a network is in, and loads it where it is in none. load
// frees a slot before it fills it; where memory does not do, others make room, the one
// that was not used for longest first.
func (c *controlSlots) take(path string, needed []string, load func(slot int) error) (slot int, err error) {
	if slot = c.find(path); slot < 0 {
		slot = c.free(needed)
		err = load(slot)
		for fault.CodeOf(err) == fault.Exhausted {
			if slot = c.oldest(needed); slot < 0 {
				break
			}
			err = load(slot)
		}
		if err != nil {
			return 0, err
		}
	}
	c.use(slot)
	return slot, nil
}

// put notes what a slot has by now, nil for nothing.
func (c *controlSlots) put(slot int, s *source) {
	c.sources[slot].close()
	c.sources[slot], c.used[slot] = s, 0
}

// free returns the slot that another network goes into. It is never one of a network
// that the call needs.
func (c *controlSlots) free(needed []string) int {
	if stale := slices.IndexFunc(c.sources[:], func(s *source) bool { return s != nil && s.stale }); stale >= 0 {
		return stale
	}
	loaded, empty := 0, -1
	for i, s := range c.sources {
		if s != nil {
			loaded++
		} else if empty < 0 {
			empty = i
		}
	}
	oldest := c.oldest(needed)
	if empty < 0 || loaded >= keptControls && oldest >= 0 && c.turn-c.used[oldest] >= recentUses {
		return oldest
	}
	return empty
}

// oldest returns the slot of the network that was not used for longest, of those that
// the call does not need; -1 for none.
func (c *controlSlots) oldest(needed []string) int {
	oldest := -1
	for i, s := range c.sources {
		if s != nil && !slices.Contains(needed, s.id.Path) && (oldest < 0 || c.used[i] < c.used[oldest]) {
			oldest = i
		}
	}
	return oldest
}
