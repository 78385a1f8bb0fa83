package bench

import (
	"fmt"
	"io"
)

// Chart is a drawing of times: rows of bars, the shorter the better. Each row has a
// scale of its own.
type Chart struct {
	Title    string
	Subtitle string
	Rows     []ChartRow
}

// ChartRow is one thing that was measured. Its first bar is this program's.
type ChartRow struct {
	Name string
	Bars []ChartBar
}

// ChartBar is how long a program took.
type ChartBar struct {
	Name    string
	Seconds float64
}

// Chart draws the shortest times of a comparison, and those of an earlier one of
// another build of this program if it is given.
func (r *PeersReport) Chart(before *PeersReport) *Chart {
	c := &Chart{Title: "Seconds on a CPU, shorter is better", Subtitle: fmt.Sprintf("%s, %d cores", r.Machine.CPU, r.Machine.Cores)}
	for _, row := range r.Rows {
		bars := []ChartBar{{"this program", row.Own.Seconds.Min}}
		if before != nil {
			for _, old := range before.Rows {
				if old.Name == row.Name && old.Width == row.Width && old.Height == row.Height {
					bars = append(bars, ChartBar{"before", old.Own.Seconds.Min})
				}
			}
		}
		for i, f := range row.Peers {
			bars = append(bars, ChartBar{r.Peers[i].Name, f.Seconds.Min})
		}
		c.Rows = append(c.Rows, ChartRow{Name: fmt.Sprintf("%s, %dx%d", row.Name, row.Width, row.Height), Bars: bars})
	}
	return c
}

// Chart draws the shortest times of a report, and those of an earlier one of another
// build of this program if it is given.
func (r *EngineReport) Chart(before *EngineReport) *Chart {
	c := &Chart{Title: "Seconds on " + r.Engine.Device + ", shorter is better", Subtitle: fmt.Sprintf("%s, %d cores", r.Machine.CPU, r.Machine.Cores)}
	figures := func(r *EngineReport) []ChartRow {
		p := r.Picture
		one := func(name string, s Series) ChartRow { return ChartRow{name, []ChartBar{{"this program", s.Min}}} }
		return []ChartRow{
			one("CFG step, 64x64", r.Step64), one("CFG step, 256x256", r.Step256), one("VAE decode, 256x256", r.Decode256),
			one(fmt.Sprintf("%d of %dx%d, %d steps", p.Batch, p.Width, p.Height, p.Steps), p.Series),
		}
	}
	c.Rows = figures(r)
	if before != nil {
		for i, old := range figures(before) {
			if old.Name == c.Rows[i].Name {
				c.Rows[i].Bars = append(c.Rows[i].Bars, ChartBar{"before", old.Bars[0].Seconds})
			}
		}
	}
	if r.Baseline != nil {
		last := &c.Rows[len(c.Rows)-1]
		last.Bars = append(last.Bars, ChartBar{"engine alone", r.Baseline.Picture.Min})
	}
	return c
}

// Where things are in the drawing, in pixels.
const (
	chartWidth    = 760
	chartTop      = 70 // of the first row
	chartNames    = 120
	chartLongest  = 400 // bar
	chartBar      = 24
	chartRowTitle = 30
	chartRowGap   = 16
)

// The colours of light and dark pages differ; a page's own background shows through.
const chartStyle = `
    text { font: 16px system-ui, sans-serif; fill: #1f2328 }
    .title { font-size: 20px; font-weight: 600 }
    .row { font-weight: 600 }
    .note { fill: #59636e }
    .own { fill: #0969da }
    .other { fill: #a8b1bb }
    @media (prefers-color-scheme: dark) {
      text { fill: #f0f6fc }
      .note { fill: #9198a1 }
      .own { fill: #4493f8 }
      .other { fill: #59636e }
    }
`

// WriteTo writes the drawing as SVG.
func (c *Chart) WriteTo(w io.Writer) (int64, error) {
	d := new(svg)
	d.text(0, 24, "title", "start", c.Title)
	d.text(0, 48, "note", "start", c.Subtitle)
	y := chartTop
	for _, row := range c.Rows {
		d.text(0, y+20, "row", "start", row.Name)
		y += chartRowTitle
		longest := 0.0
		for _, b := range row.Bars {
			longest = max(longest, b.Seconds)
		}
		for i, b := range row.Bars {
			class, label := "other", seconds(b.Seconds)
			if i == 0 {
				class = "own"
			} else if row.Bars[0].Seconds > 0 {
				label += fmt.Sprintf(", %.1f times as long", b.Seconds/row.Bars[0].Seconds)
			}
			length := 1
			if longest > 0 {
				length = max(length, int(chartLongest*b.Seconds/longest+0.5))
			}
			d.text(chartNames-8, y+18, "note", "end", b.Name)
			fmt.Fprintf(&d.body, "  <rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" rx=\"3\" class=\"%s\"/>\n", chartNames, y+2, length, chartBar-4, class)
			d.text(chartNames+length+8, y+18, "note", "start", label)
			y += chartBar
		}
		y += chartRowGap
	}
	n, err := io.WriteString(w, d.document(chartWidth, y, c.Title, chartStyle))
	return int64(n), err
}

func seconds(s float64) string {
	switch {
	case s >= 100:
		return fmt.Sprintf("%.0f s", s)
	case s >= 10:
		return fmt.Sprintf("%.1f s", s)
	default:
		return fmt.Sprintf("%.2f s", s)
	}
}
