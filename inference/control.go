package inference

import (
	"math"
	"strings"

	"sdworker/fault"
	"sdworker/inference/hint"
	"sdworker/inference/imageio"
)

// softFalloff is the factor per layer by which the ControlNet extension weakens
// a unit that yields to the prompt, counted back from the middle layer.
const softFalloff = 0.825

// controlUnit is a ControlNet unit prepared for one pass.
type controlUnit struct {
	model      string
	hint       []float32 // [3,8h,8w]
	start, end float64
	rows       float32 // strength of conditional rows
	layers     []float32
	condOnly   bool // leaves the unconditional rows alone
}

// prepareControl runs the preprocessors for a pass of w by h pixels and adds
// their pictures to the result when it is asked to.
func (j *job) prepareControl(w, h int, hires bool) ([]controlUnit, error) {
	var units []controlUnit
	for _, u := range j.req.Control {
		if hires && !u.HighRes || !hires && !u.LowRes {
			continue
		}
		picture, err := hint.Make(u.Image, hint.Options{
			Module:       u.Module,
			Resolution:   u.Resolution,
			PixelPerfect: u.PixelPerfect,
			ThresholdA:   u.ThresholdA,
			ThresholdB:   u.ThresholdB,
			ResizeMode:   u.ResizeMode,
			Width:        w,
			Height:       h,
		})
		if err != nil {
			return nil, &fault.Error{Code: fault.Invalid, Op: "controlnet", Field: "alwayson_scripts", Msg: err.Error()}
		}
		units = append(units, newControlUnit(u, picture, hires))
		if u.ReturnMap && len(j.res.Maps) < len(j.req.Control) {
			j.res.Maps = append(j.res.Maps, picture)
		}
	}
	return units, nil
}

// softInHires reports whether the extension weakens the layers of a preprocessor's
// unit in every hires pass, whatever its control mode (scripts/hook.py).
func softInHires(module string) bool {
	return strings.Contains(module, "canny") || strings.Contains(module, "mlsd")
}

func newControlUnit(u ControlUnit, picture imageio.RGB, hires bool) controlUnit {
	c := controlUnit{
		model:    u.Model,
		hint:     toPlanar(picture),
		start:    u.Start,
		end:      u.End,
		rows:     float32(u.Weight),
		layers:   make([]float32, ControlLayers),
		condOnly: u.Mode == ControlModeControlNet,
	}
	for i := range c.layers {
		c.layers[i] = 1
		if u.Mode != ControlModeBalanced || hires && softInHires(u.Module) {
			c.layers[i] = float32(math.Pow(softFalloff, float64(ControlLayers-1-i)))
		}
	}
	return c
}

// active reports whether the unit acts at this fraction of the pass.
func (c *controlUnit) active(fraction float64) bool {
	return fraction >= c.start && fraction <= c.end
}

// input is the unit's part in a UNet call; conditional says which rows have the
// prompt.
func (c *controlUnit) input(conditional []bool) ControlInput {
	in := ControlInput{Model: c.model, Hint: c.hint, Layers: c.layers, Rows: make([]float32, len(conditional))}
	for i, cond := range conditional {
		if cond || !c.condOnly {
			in.Rows[i] = c.rows
		}
	}
	return in
}
