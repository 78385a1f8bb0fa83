package bench

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"
)

// Curves is a drawing of values against the number of clients: panels beside each
// other, with a line for each way of working.
type Curves struct {
	Title    string
	Subtitle string
	Panels   []CurvePanel
}

// CurvePanel is one drawing with axes of its own, which begin at 0.
type CurvePanel struct {
	Name  string
	Lines []Curve
}

// Curve is one line. The first one of a panel is drawn in its colour.
type Curve struct {
	Name   string
	Points []CurvePoint
}

// CurvePoint is one measurement.
type CurvePoint struct{ X, Y float64 }

// Curves draws pictures a second and latency (p95) against clients, for each size.
func (r *ThroughputReport) Curves() *Curves {
	c := &Curves{
		Title:    "Pictures a second and latency against clients",
		Subtitle: fmt.Sprintf("%s, %d cores, %d steps, on %s", r.Machine.CPU, r.Machine.Cores, r.Steps, r.Engine.Device),
	}
	var sides []int
	bySide := map[int][]ThroughputLoad{}
	for _, l := range r.Loads {
		if bySide[l.Side] == nil {
			sides = append(sides, l.Side)
		}
		bySide[l.Side] = append(bySide[l.Side], l)
	}
	for _, side := range sides {
		rate, latency := make([]Curve, 2), make([]Curve, 2)
		for i, name := range []string{"sharing", "in turn"} {
			rate[i].Name, latency[i].Name = name, name
			for _, l := range bySide[side] {
				f := l.Shared
				if i == 1 {
					f = l.InTurn
				}
				rate[i].Points = append(rate[i].Points, CurvePoint{float64(l.Clients), f.PerSecond})
				latency[i].Points = append(latency[i].Points, CurvePoint{float64(l.Clients), f.P95})
			}
		}
		size := fmt.Sprintf("%dx%d", side, side)
		c.Panels = append(c.Panels, CurvePanel{size + ", pictures a second", rate}, CurvePanel{size + ", latency p95, s", latency})
	}
	return c
}

// Where things are in the drawing, in pixels. Two panels are beside each other.
const (
	panelWidth  = 380
	panelHeight = 260
	panelLeft   = 56 // of the axes in their panel
	panelTop    = 40
	panelRight  = 76 // room for the names of lines
	panelBottom = 36
)

const curveStyle = chartStyle + `    .axis { stroke: #a8b1bb; fill: none }
    .line { stroke-width: 2.5; fill: none }
    .line.own { stroke: #0969da }
    .line.other { stroke: #a8b1bb }
    @media (prefers-color-scheme: dark) {
      .line.own { stroke: #4493f8 }
      .line.other { stroke: #59636e }
    }
`

// WriteTo writes the drawing as SVG.
func (c *Curves) WriteTo(w io.Writer) (int64, error) {
	d := new(svg)
	d.text(0, 24, "title", "start", c.Title)
	d.text(0, 48, "note", "start", c.Subtitle)
	for i, p := range c.Panels {
		p.draw(d, i%2*panelWidth, chartTop+i/2*panelHeight)
	}
	height := chartTop + (len(c.Panels)+1)/2*panelHeight
	n, err := io.WriteString(w, d.document(2*panelWidth, height, c.Title, curveStyle))
	return int64(n), err
}

func (p *CurvePanel) draw(d *svg, left, top int) {
	d.text(left+panelLeft, top+20, "row", "start", p.Name)
	x0, y0 := float64(left+panelLeft), float64(top+panelHeight-panelBottom)
	wide, high := float64(panelWidth-panelLeft-panelRight), float64(panelHeight-panelTop-panelBottom)
	var most CurvePoint
	for _, l := range p.Lines {
		for _, point := range l.Points {
			most.X, most.Y = max(most.X, point.X), max(most.Y, point.Y)
		}
	}
	if most.X <= 0 || most.Y <= 0 {
		return
	}
	at := func(point CurvePoint) (x, y float64) { return x0 + wide*point.X/most.X, y0 - high*point.Y/most.Y }
	fmt.Fprintf(&d.body, "  <path d=\"M%.1f %.1fV%.1fH%.1f\" class=\"axis\"/>\n", x0, y0-high, y0, x0+wide)
	d.text(int(x0)-8, int(y0-high)+6, "note", "end", fmt.Sprintf("%.3g", most.Y))
	d.text(int(x0)-8, int(y0)+6, "note", "end", "0")
	for i, l := range p.Lines {
		class := "other"
		if i == 0 {
			class = "own"
		}
		var path strings.Builder
		for k, point := range l.Points {
			x, y := at(point)
			fmt.Fprintf(&path, "%c%.1f %.1f", "ML"[min(k, 1)], x, y)
			if i == 0 {
				d.text(int(x), int(y0)+22, "note", "middle", fmt.Sprintf("%g", point.X))
			}
			if k == len(l.Points)-1 {
				d.text(int(x)+8, int(y)+6, "note", "start", l.Name)
			}
		}
		fmt.Fprintf(&d.body, "  <path d=\"%s\" class=\"line %s\"/>\n", path.String(), class)
	}
}

// svg is a drawing that grows.
type svg struct{ body strings.Builder }

func (d *svg) text(x, y int, class, anchor, s string) {
	fmt.Fprintf(&d.body, "  <text x=\"%d\" y=\"%d\" class=\"%s\" text-anchor=\"%s\">%s</text>\n", x, y, class, anchor, escaped(s))
}

// document is the whole file.
func (d *svg) document(width, height int, title, style string) string {
	return fmt.Sprintf("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\" role=\"img\">\n  <title>%s</title>\n  <style>%s  </style>\n%s</svg>\n",
		width, height, width, height, escaped(title), style, d.body.String())
}

func escaped(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // a Builder takes everything
	return b.String()
}
