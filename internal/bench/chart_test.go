package bench_test

import (
	"encoding/xml"
	"errors"
	"io"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/inference"
	"sdworker/internal/bench"
)

// drawing is what a test wants to know of an SVG.
type drawing struct {
	texts  []string
	widths []int
}

func read(t *testing.T, c *bench.Chart) drawing {
	t.Helper()
	var text strings.Builder
	n, err := c.WriteTo(&text)
	require.NoError(t, err)
	require.Len(t, text.String(), int(n))
	var d drawing
	in := ""
	for decoder := xml.NewDecoder(strings.NewReader(text.String())); ; {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			return d
		}
		require.NoError(t, err, "it is well-formed")
		switch token := token.(type) {
		case xml.StartElement:
			in = token.Name.Local
			require.Equal(t, "http://www.w3.org/2000/svg", token.Name.Space)
			for _, a := range token.Attr {
				if in == "rect" && a.Name.Local == "width" {
					width, err := strconv.Atoi(a.Value)
					require.NoError(t, err)
					d.widths = append(d.widths, width)
				}
			}
		case xml.EndElement:
			in = ""
		case xml.CharData:
			if in == "text" {
				d.texts = append(d.texts, string(token))
			}
		}
	}
}

func figureOf(seconds float64) bench.PeerFigure {
	return bench.PeerFigure{Seconds: bench.Series{Min: seconds, Median: 2 * seconds}}
}

func TestPeersChart(t *testing.T) {
	row := func(own float64, peers ...bench.PeerFigure) []bench.PeersRow {
		return []bench.PeersRow{{Name: "CFG step", Width: 512, Height: 512, Own: figureOf(own), Peers: peers}}
	}
	r := &bench.PeersReport{
		Machine: bench.Machine{CPU: "<fast> & small", Cores: 2},
		Peers:   []*bench.Peer{{Name: "PyTorch"}, {Name: "OpenVINO"}},
		Rows:    row(5, figureOf(12), figureOf(10)),
	}
	d := read(t, r.Chart(&bench.PeersReport{Rows: row(20)}))
	require.Equal(t, []string{
		"Seconds on a CPU, shorter is better", "<fast> & small, 2 cores", "CFG step, 512x512",
		"this program", "5.00 s", "before", "20.0 s, 4.0 times as long",
		"PyTorch", "12.0 s, 2.4 times as long", "OpenVINO", "10.0 s, 2.0 times as long",
	}, d.texts)
	require.Equal(t, []int{100, 400, 240, 200}, d.widths)

	require.Equal(t, []int{167, 400, 333}, read(t, r.Chart(nil)).widths, "the longest fills the row")
}

func TestEngineChart(t *testing.T) {
	figures := func(seconds float64, side int) *bench.EngineReport {
		s := bench.Series{Min: seconds}
		return &bench.EngineReport{
			Engine: inference.EngineInfo{Device: "CPU"}, Step64: s, Step256: s, Decode256: s,
			Picture: bench.Picture{Width: side, Height: side, Steps: 4, Batch: 1, Series: s},
		}
	}
	now := figures(1, 256)
	now.Baseline = &bench.Comparison{Picture: bench.Series{Min: 2}}
	d := read(t, now.Chart(figures(4, 256)))
	require.Equal(t, []int{100, 400, 100, 400, 100, 400, 100, 400, 200}, d.widths)
	require.Equal(t, "2.00 s, 2.0 times as long", d.texts[len(d.texts)-1])

	d = read(t, now.Chart(figures(4, 512)))
	require.Equal(t, []int{100, 400, 100, 400, 100, 400, 200, 400}, d.widths, "pictures of other sizes are not compared")
}
