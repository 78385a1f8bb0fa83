package regions

import (
	"errors"
	"fmt"
	"strings"
)

// splitCells divides a text into rows and those into cells.
func splitCells(text, row, cell string) [][]string {
	var out [][]string
	for line := range strings.SplitSeq(text, row) {
		out = append(out, strings.Split(line, cell))
	}
	return out
}

// withOwn takes the first value of each row for the row's own; a value that is alone is
// the row's and that of its cell.
func withOwn(rows [][]string) (own []string, cells [][]string) {
	for _, row := range rows {
		own = append(own, row[0])
		if len(row) > 1 {
			row = row[1:]
		}
		cells = append(cells, row)
	}
	return own, cells
}

// fit gives the values of some rows to rows of the given lengths: the last value of a row
// is repeated where there are too few, further ones go on in the next row, and where rows
// are missing the last value counts for all of their cells. With own the first value of a
// row is the row's.
func fit(rows [][]string, lengths []int, withOwn bool) (own []string, cells [][]string) {
	var last string
	for _, row := range rows {
		last = row[len(row)-1]
		for len(cells) < len(lengths) && len(row) > 0 {
			if withOwn {
				own = append(own, row[0])
				if len(row) > 1 {
					row = row[1:]
				}
			}
			n := lengths[len(cells)]
			if n >= len(row) {
				cells = append(cells, padded(row, n))
				break
			}
			cells, row = append(cells, row[:n]), row[n:]
		}
	}
	for len(cells) < len(lengths) {
		cells = append(cells, padded([]string{last}, lengths[len(cells)]))
	}
	for withOwn && len(own) < len(lengths) {
		own = append(own, own[len(own)-1])
	}
	return own, cells
}

// padded repeats the last value of a row until it has n.
func padded(row []string, n int) []string {
	out := append([]string(nil), row...)
	for len(out) < n {
		out = append(out, out[len(out)-1])
	}
	return out
}

// afterHead cuts the common and the base prompt off a layout.
func afterHead(layout string) string {
	for _, word := range []string{wordCommon, wordBase} {
		if _, rest, found := strings.Cut(layout, word); found {
			layout = rest
		}
	}
	return layout
}

// matrixAreas divides the picture as the words of the layout and the ratios say.
func (r *Prompter) matrixAreas(layout string, base bool) ([]Area, error) {
	own, ratios, bases := r.grid(afterHead(layout))
	rows, err := spans(own)
	if err != nil {
		return nil, err
	}
	var areas []Area
	var left []box // what the base prompt has
	for i, cells := range ratios {
		columns, err := spans(cells)
		if err != nil {
			return nil, err
		}
		for k, column := range columns {
			b := box{y: rows[i], x: column, factor: 1}
			if r.Rows {
				b.y, b.x = b.x, b.y
			}
			if base {
				share, err := number(bases[i][k])
				if err != nil {
					share = 0
				}
				left = append(left, box{b.y, b.x, share})
				b.factor = 1 - share
			}
			areas = append(areas, boxes(b))
		}
	}
	if base {
		areas = append([]Area{boxes(left...)}, areas...)
	}
	return areas, nil
}

// grid finds the ratios of rows and cells, and the shares of the base prompt. Where the
// layout has words for rows or columns it says how many there are.
func (r *Prompter) grid(layout string) (own []string, ratios, bases [][]string) {
	outer, inner := wordRow, wordColumn
	if r.Rows {
		outer, inner = inner, outer
	}
	hasRow, hasColumn := strings.Contains(layout, wordRow), strings.Contains(layout, wordColumn)
	lengths := func(rows [][]string) (list []int) {
		for _, row := range rows {
			list = append(list, len(row))
		}
		return list
	}
	if !hasRow && !hasColumn {
		own, ratios = withOwn(splitCells(r.Ratios, r.outer(), r.inner()))
		_, bases = fit(splitCells(r.BaseRatios, r.outer(), r.inner()), lengths(ratios), false)
		return own, ratios, bases
	}
	shape := lengths(splitCells(layout, outer, inner))
	text, by, within := r.Ratios, r.outer(), r.inner()
	if !strings.Contains(text, ";") && hasRow != hasColumn {
		by, within = ",", ";" // rows of one cell
		if hasRow == r.Rows { // one row of cells
			text, by, within = "1,"+text, ";", ","
		}
	}
	own, ratios = fit(splitCells(text, by, within), shape, true)
	_, bases = fit(splitCells(r.BaseRatios, r.outer(), r.inner()), shape, false)
	return own, ratios, bases
}

// spans divides a side in proportion. What is no number counts as 1.
func spans(ratios []string) ([]span, error) {
	var values []float64
	var sum float64
	for _, text := range ratios {
		v, err := number(text)
		if err != nil {
			v = 1
		}
		if v < 0 {
			return nil, fmt.Errorf("a ratio of %g is below 0", v)
		}
		values = append(values, v)
		sum += v
	}
	if sum == 0 {
		return nil, errors.New("ratios are all 0")
	}
	list := make([]span, len(values))
	var at float64
	for i, v := range values {
		list[i].from = at
		at += v / sum
		list[i].to = at
	}
	list[len(list)-1].to = 1 // the sum of the shares may be a little less
	return list, nil
}
