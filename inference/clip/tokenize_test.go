package clip_test

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"sdworker/inference/clip"
)

// load decodes a file of testdata.
func load(tb testing.TB, name string, dst any) {
	tb.Helper()
	raw, err := os.ReadFile("testdata/" + name)
	require.NoError(tb, err)
	require.NoError(tb, json.Unmarshal(raw, dst))
}

func TestTokenize(t *testing.T) {
	var file struct {
		Source string
		Cases  []struct {
			Text string
			IDs  []int32
		}
	}
	load(t, "tokens.json", &file)
	require.NotEmpty(t, file.Cases)
	for _, tc := range file.Cases {
		got := clip.Tokenize(tc.Text)
		if len(tc.IDs) == 0 {
			require.Empty(t, got, "%+q", tc.Text)
			continue
		}
		require.Equal(t, tc.IDs, got, "%+q", tc.Text)
	}
}

func TestTokenizeInvalidText(t *testing.T) {
	require.Equal(t, clip.Tokenize("a \ufffd b"), clip.Tokenize("a \xff b"))
	require.Equal(t, clip.Tokenize(strings.Repeat("x", 1000)), clip.Tokenize(strings.Repeat("\x00x", 1000)))
}

func FuzzTokenize(f *testing.F) {
	for _, text := range []string{
		"", "a cat", "It's 100% \u201creal\u201d", "&lt;&AMP;&#x41;&#59;", "Ã©\u0085\u0091", "\x1b[31mred", "a\u0301\u0323",
		"<|endoftext|>x", "\xff\xfe", "日本 ｶﾞ ŉ ΑΣ İ", "â€œ like this â€\ufffd", "Ã la", "\u0345", "íÂ\u00a0Â½",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		ids := clip.Tokenize(text)
		require.LessOrEqual(t, len(ids), 6*len(text)+8, "a token stands for a byte or more of the repaired text")
		for _, id := range ids {
			require.True(t, 0 <= id && id < clip.VocabularySize)
		}
		require.Equal(t, ids, clip.Tokenize(" \n"+text+"\n"), "blanks around change nothing")
		if utf8.ValidString(text) {
			require.Equal(t, ids, clip.Tokenize(strings.ToValidUTF8(text, "")))
		}
	})
}

const benchmarkPrompt = "(masterpiece:1.2), best quality, ultra-detailed, a lovely cat sitting on a red sofa, " +
	"soft morning light through the window, depth of field, bokeh, 35mm photograph, film grain, " +
	"trending on artstation, by greg rutkowski and alphonse mucha, highly detailed, sharp focus"

func BenchmarkTokenize(b *testing.B) {
	clip.Tokenize("") // loads the vocabulary
	for name, text := range map[string]string{
		"prompt":   benchmarkPrompt,
		"unicode":  "красивая кошка на диване, 美しい猫、“мягкий” свет 😀, café à la carte",
		"megabyte": strings.Repeat(benchmarkPrompt, 1<<20/len(benchmarkPrompt)),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				clip.Tokenize(text)
			}
		})
	}
}

func BenchmarkEncode(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := clip.Encode([]string{benchmarkPrompt}, clip.Options{CommaBacktrack: 20}); err != nil {
			b.Fatal(err)
		}
	}
}
