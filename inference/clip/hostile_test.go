package clip_test

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sdworker/inference/clip"
)

// A mass of text that is hard for one of the steps must not take the square of its length.
func TestHostileTexts(t *testing.T) {
	const size = 1 << 17
	fill := func(unit string) string { return strings.Repeat(unit, size/len(unit)) }
	random := rand.New(rand.NewPCG(1, 2))
	letters := make([]byte, size)
	for i := range letters {
		letters[i] = 'a' + byte(random.IntN(26))
	}
	for name, text := range map[string]string{
		"one letter":         fill("a"),
		"one long word":      string(letters),
		"one mark":           fill("!"),
		"marks on a letter":  "a" + fill("\u0301\u0323"),
		"nested entities":    "&" + fill("amp;"),
		"mojibake":           fill("Ã¼ "),
		"mojibake in pieces": "日" + fill("Ã¼x "),
		"unclosed entities":  fill("&a"),
		"terminal escapes":   fill("\x1b[1;"),
		"special tokens":     fill("<|endoftext|>"),
		"broken UTF-8":       fill("\xff\xc3"),
		"blanks":             fill(" \u3000\t"),
		"line breaks":        fill("\r"),
		"commas":             fill(","),
		"BREAK":              fill("BREAK "),
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			batch, err := clip.Encode([]string{text}, clip.Options{CommaBacktrack: 20})
			require.NoError(t, err)
			require.NotEmpty(t, batch.Texts[0].Chunks)
			require.Less(t, time.Since(start), 30*time.Second)
		})
	}
}
