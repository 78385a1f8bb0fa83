package inference

import (
	"math"

	"sdworker/fault"
)

// FreeU scales what meets in the decoder of the UNet (Si et al., "FreeU: Free Lunch in
// Diffusion U-Net", 2023). Version 2 scales the backbone more where its features are
// strong.
type FreeU struct {
	Version int           // 1 or 2; 0 = off
	Stages  [3]FreeUStage // where the backbone has 1280, 640 and 320 channels
}

// FreeUStage is what FreeU does in one part of the decoder.
type FreeUStage struct {
	Backbone float64 // factor of the channels in Window, 1 = unchanged
	Window   FreeUWindow
	SkipLow  float64 // factor of the low frequencies of the skip connection
	SkipHigh float64 // factor of all others
	Cutoff   float64 // part of the frequencies that are low, 0..1; 0 = the lowest alone
}

// FreeUWindow is a range of channels, in parts of all of them.
type FreeUWindow struct {
	From, To float64
	Inverted bool // the range is what is left out
	Closed   bool // the channel at To is in it, as in sd-webui-freeu
}

// SimpleFreeU is FreeU as its authors published it: half of the channels by b1 and b2, and
// the lowest frequencies by s1 and s2.
func SimpleFreeU(version int, b1, b2, s1, s2 float64) FreeU {
	f := FreeU{Version: version}
	for i, factors := range [3][2]float64{{b1, s1}, {b2, s2}, {1, 1}} {
		f.Stages[i] = FreeUStage{Backbone: factors[0], Window: FreeUWindow{To: 0.5}, SkipLow: factors[1], SkipHigh: 1}
	}
	return f
}

// Check reports factors that are no finite numbers or beyond what makes pictures.
func (f FreeU) Check() error {
	if f.Version == 0 {
		return nil
	}
	if f.Version != 1 && f.Version != 2 {
		return fault.Errorf(fault.Invalid, "freeu", "FreeU has versions 1 and 2, not %d", f.Version)
	}
	for _, s := range f.Stages {
		for _, v := range []float64{s.Backbone, s.SkipLow, s.SkipHigh} {
			if !(math.Abs(v) <= 4) {
				return fault.Errorf(fault.Invalid, "freeu", "factors of FreeU are -4 to 4, not %g", v)
			}
		}
		if !(s.Cutoff >= 0 && s.Cutoff <= 1) {
			return fault.Errorf(fault.Invalid, "freeu", "a cutoff of FreeU is 0 to 1, not %g", s.Cutoff)
		}
		if w := s.Window; !(w.From >= 0 && w.From <= 1 && w.To >= 0 && w.To <= 1) {
			return fault.Errorf(fault.Invalid, "freeu", "a window of FreeU is within 0 to 1, not %g to %g", w.From, w.To)
		}
	}
	return nil
}

// mixed is FreeU at a strength of 0 to 1.
func (f FreeU) mixed(strength float64) FreeU {
	if f.Version == 0 || strength == 0 {
		return FreeU{}
	}
	for i := range f.Stages {
		s := &f.Stages[i]
		for _, v := range []*float64{&s.Backbone, &s.SkipLow, &s.SkipHigh} {
			*v = 1 - strength + strength**v
		}
	}
	return f
}

// TimedFreeU is FreeU during a part of the steps.
type TimedFreeU struct {
	FreeU
	Start, End float64 // part of the steps in which it acts, 0..1

	// ByCalls tells that Start and End are counted in UNet calls of a batch, which go on
	// in the hires pass, as in sd-webui-freeu. The call at End is outside.
	ByCalls            bool
	StartCall, EndCall bool    // Start, End is a number of calls instead of a part of the steps
	Smoothness         float64 // 0..1: how much of a slow rise to Start and a slow fall to End is mixed in
}

// Check reports times that are no finite numbers, beside what FreeU reports.
func (f TimedFreeU) Check() error {
	if !finite(f.Start) || !finite(f.End) || !(f.Smoothness >= 0 && f.Smoothness <= 1) {
		return fault.Errorf(fault.Invalid, "freeu", "FreeU acts from %g to %g with a smoothness of %g, want numbers and 0 to 1", f.Start, f.End, f.Smoothness)
	}
	return f.FreeU.Check()
}

// at is FreeU for a call at a step of so many. call counts those of the batch from 0.
func (f TimedFreeU) at(step, steps, call int) FreeU { return f.mixed(f.share(step, steps, call)) }

// share is how strongly it acts then, 0 to 1.
func (f TimedFreeU) share(step, steps, call int) float64 {
	if f.ByCalls {
		return f.strength(steps, call)
	}
	if at := float64(step) / float64(max(steps-1, 1)); at < f.Start || at > f.End {
		return 0
	}
	return 1
}

// strength follows get_schedule_ratio of sd-webui-freeu.
func (f TimedFreeU) strength(steps, call int) float64 {
	number := func(v float64, calls bool) float64 {
		if !calls {
			v *= float64(steps)
		}
		return math.Trunc(v)
	}
	start, end, now := number(f.Start, f.StartCall), number(f.End, f.EndCall), float64(call)
	var smooth, flat float64
	switch {
	case start == end:
	case now < start:
		smooth = now / start
	default:
		smooth = 1 + (now-start)/(start-end)
	}
	if start <= now && now < end {
		flat = 1
	}
	return flat + f.Smoothness*(min(max(smooth, 0), 1)-flat)
}
