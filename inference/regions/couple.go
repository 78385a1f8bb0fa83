package regions

import (
	"errors"
	"fmt"
	"strings"

	"sdworker/inference/imageio"
	"sdworker/inference/latent"
)

// Couple is Latent Couple: the parts of a prompt, joined by AND, have areas.
type Couple struct {
	// Divisions and Positions have an entry for each part, joined by commas: the number
	// of rows and columns that the picture is divided into, as 2:1, and where in them the
	// area lies, as 0:0 or from and to as 0-2:0.5-1.
	Divisions, Positions string

	// Masks take the place of Divisions and Positions if there are any: white is fully
	// in the area. One without pixels is the whole picture.
	Masks []imageio.Gray

	Weights string // factors of the areas, joined by commas
	Steps   int    // after which the parts act everywhere; 0 = at once
}

func (c *Couple) plan(positive, negative string) (Plan, error) {
	p := Plan{Prompt: positive, Negative: negative, Steps: c.Steps}
	if c.Steps <= 0 {
		return Plan{Prompt: positive, Negative: negative}, nil
	}
	weights, err := c.weights()
	if err != nil {
		return p, err
	}
	if len(c.Masks) > 0 {
		for i, m := range c.Masks[:min(len(c.Masks), len(weights))] {
			p.Areas = append(p.Areas, picture(m, weights[i]))
		}
		return p, nil
	}
	return p, c.rectangles(&p, weights)
}

func (c *Couple) weights() ([]float64, error) {
	if len(c.Weights) > maxText || len(c.Divisions) > maxText || len(c.Positions) > maxText {
		return nil, fmt.Errorf("divisions, positions and weights have at most %d characters", maxText)
	}
	var list []float64
	for text := range strings.SplitSeq(c.Weights, ",") {
		v, err := number(text)
		if err != nil {
			return nil, fmt.Errorf("weights: %w", err)
		}
		list = append(list, v)
	}
	return list, nil
}

// rectangles adds the areas; the shortest of the lists counts.
func (c *Couple) rectangles(p *Plan, weights []float64) error {
	divisions, positions := strings.Split(c.Divisions, ","), strings.Split(c.Positions, ",")
	for i := range min(len(divisions), len(positions), len(weights)) {
		rows, columns, ok := strings.Cut(divisions[i], ":")
		if !ok {
			return fmt.Errorf("a division is rows:columns, not %q", divisions[i])
		}
		y, x, ok := strings.Cut(positions[i], ":")
		if !ok {
			return fmt.Errorf("a position is row:column, not %q", positions[i])
		}
		b := box{factor: weights[i]}
		var err error
		if b.y, err = slot(rows, y); err != nil {
			return err
		}
		if b.x, err = slot(columns, x); err != nil {
			return err
		}
		p.Areas = append(p.Areas, boxes(b))
	}
	return nil
}

// slot is a place in a side that is divided.
func slot(division, place string) (span, error) {
	n, err := number(division)
	if err == nil && n <= 0 {
		err = errors.New("a division must be more than 0")
	}
	if err != nil {
		return span{}, err
	}
	first, last, ranged := strings.Cut(place, "-")
	from, err := number(first)
	if err != nil {
		return span{}, err
	}
	to := from + 1
	if ranged {
		if to, err = number(last); err != nil {
			return span{}, err
		}
	}
	return span{from / n, to / n}, nil
}

// picture is the area of a grey picture, scaled as A1111 scales masks of inpainting.
func picture(m imageio.Gray, weight float64) Area {
	return func(h, w int) []float32 {
		var cells []float32
		if m.Pix == nil {
			cells = make([]float32, h*w)
			for i := range cells {
				cells[i] = 1
			}
		} else {
			cells = latent.Mask(m, w, h, false)
		}
		for i := range cells {
			cells[i] *= float32(weight)
		}
		return cells
	}
}
