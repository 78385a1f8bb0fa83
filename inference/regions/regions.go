// Package regions divides a picture among the parts of a prompt: the arguments of the
// extensions Regional Prompter (hako-mikan/sd-webui-regional-prompter, mode Latent) and
// Latent Couple (opparco and ashen-sensored/stable-diffusion-webui-two-shot) become texts
// joined by AND and an area for each of them.
//
// Both extensions compose predictions at the latent. In every step the prediction of part
// i is replaced by area_i * part_i + (1 - area_i) * negative before A1111 combines the
// parts, which is
//
//	negative + sum of area_i * weight_i * scale * (part_i - negative)
//
// in each cell. Areas are made at the size of the latent in hand, so that they grow with
// the hires pass.
package regions

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Spec says how the prompts of a request are divided; one of its fields is set.
type Spec struct {
	Prompter *Prompter
	Couple   *Couple
}

// Plan is what a Spec makes of a pair of prompts.
type Plan struct {
	Prompt, Negative string // Prompt has parts joined by AND

	Areas []Area // of the parts in turn; further ones act everywhere
	Steps int    // after which areas no longer act; 0 = never

	NotFirst, NotHires bool // areas do not act in the first pass, in the hires pass
}

// Area gives the factor of each cell of a latent of h by w cells.
type Area func(h, w int) []float32

// Plan divides prompts whose extra network tags are cut out. A nil Spec leaves them as
// they are.
func (s *Spec) Plan(positive, negative string) (Plan, error) {
	switch {
	case s == nil:
	case s.Prompter != nil:
		return s.Prompter.plan(positive, negative)
	case s.Couple != nil:
		return s.Couple.plan(positive, negative)
	}
	return Plan{Prompt: positive, Negative: negative}, nil
}

// Limits of what is read.
const (
	maxParts = 64   // of a prompt
	maxText  = 4096 // bytes of a list of numbers
)

// number reads a number as Python's float() does; names that are no finite numbers are
// errors.
func number(text string) (float64, error) {
	v, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
	if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
		return 0, fmt.Errorf("could not convert string to float: '%s'", text)
	}
	return v, nil
}

// span is a part of a side, 0..1.
type span struct{ from, to float64 }

// cells are the cells of a span on a side of n, cut at whole numbers.
func (s span) cells(n int) (from, to int) {
	from, to = int(float64(n)*s.from), int(float64(n)*s.to)
	return min(from, n), min(to, n)
}

// box is a rectangle with one factor.
type box struct {
	y, x   span
	factor float64
}

// paint sets the cells of the box.
func (b box) paint(cells []float32, h, w int) {
	top, bottom := b.y.cells(h)
	left, right := b.x.cells(w)
	for y := top; y < bottom; y++ {
		for x := left; x < right; x++ {
			cells[y*w+x] = float32(b.factor)
		}
	}
}

// boxes is the area that some boxes cover, the last one above the others.
func boxes(list ...box) Area {
	return func(h, w int) []float32 {
		cells := make([]float32, h*w)
		for _, b := range list {
			b.paint(cells, h, w)
		}
		return cells
	}
}
