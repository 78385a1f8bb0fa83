package bench_test

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/internal/bench"
)

func TestCurvesOfThroughput(t *testing.T) {
	r := &bench.ThroughputReport{Steps: 8, Machine: bench.Machine{CPU: "A & B", Cores: 2}, Loads: []bench.ThroughputLoad{
		{Side: 64, Clients: 1, InTurn: bench.Flow{PerSecond: 1, P95: 1}, Shared: bench.Flow{PerSecond: 1, P95: 1}},
		{Side: 64, Clients: 4, InTurn: bench.Flow{PerSecond: 1, P95: 4}, Shared: bench.Flow{PerSecond: 2, P95: 2}},
		{Side: 256, Clients: 1, InTurn: bench.Flow{PerSecond: 0.1, P95: 10}, Shared: bench.Flow{PerSecond: 0.1, P95: 10}},
	}}
	c := r.Curves()
	require.Len(t, c.Panels, 4)
	require.Equal(t, []bench.CurvePoint{{X: 1, Y: 1}, {X: 4, Y: 2}}, c.Panels[0].Lines[0].Points)
	require.Equal(t, []bench.CurvePoint{{X: 1, Y: 1}, {X: 4, Y: 4}}, c.Panels[1].Lines[1].Points)

	var text strings.Builder
	n, err := c.WriteTo(&text)
	require.NoError(t, err)
	require.Len(t, text.String(), int(n))
	decoder := xml.NewDecoder(strings.NewReader(text.String()))
	var lines []string
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err, "it is well-formed")
		if e, ok := token.(xml.StartElement); ok && e.Name.Local == "path" && strings.HasPrefix(e.Attr[1].Value, "line") {
			lines = append(lines, e.Attr[0].Value)
		}
	}
	require.Len(t, lines, 8)
	// Sharing at 64x64: axes begin at (56, 294), 4 clients are 248 pixels and 2 pictures a
	// second 184 pixels away.
	require.Equal(t, "M118.0 202.0L304.0 110.0", lines[0])
}
