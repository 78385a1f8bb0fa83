package pyjson_test

import (
	"encoding/json"
	"errors"
	"math"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/api/sdapi/pyjson"
)

func TestLikePython(t *testing.T) {
	raw, err := os.ReadFile("testdata/python.json")
	require.NoError(t, err)
	var file struct {
		Cases []struct {
			Doc, Dumps, Compact string
			Msg, Text           string
			Pos, Lineno, Colno  int
		}
	}
	require.NoError(t, json.Unmarshal(raw, &file))
	require.NotEmpty(t, file.Cases)
	for _, tc := range file.Cases {
		t.Run(tc.Doc, func(t *testing.T) {
			v, err := pyjson.Decode([]byte(tc.Doc))
			if tc.Msg != "" {
				var syntax *pyjson.SyntaxError
				require.ErrorAs(t, err, &syntax)
				require.Equal(t, tc.Text, syntax.Error())
				require.Equal(t, pyjson.SyntaxError{Msg: tc.Msg, Doc: tc.Doc, Pos: tc.Pos, Line: tc.Lineno, Column: tc.Colno}, *syntax)
				return
			}
			require.NoError(t, err)
			dumps, err := pyjson.Marshal(v, pyjson.Dumps)
			require.NoError(t, err)
			require.Equal(t, tc.Dumps, string(dumps))
			compact, err := pyjson.Marshal(v, pyjson.Compact)
			if errors.Is(err, pyjson.ErrNotFinite) {
				require.Regexp(t, "NaN|Infinity", tc.Compact)
				return
			}
			require.NoError(t, err)
			require.Equal(t, tc.Compact, string(compact))
		})
	}
}

func TestUnreadable(t *testing.T) {
	for name, doc := range map[string]string{
		"not UTF-8":   "\"\xff\"",
		"nested deep": strings.Repeat("[", 100_000),
		"huge number": strings.Repeat("9", 5000),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := pyjson.Decode([]byte(doc))
			require.ErrorIs(t, err, pyjson.ErrUnreadable)
		})
	}
}

func TestRepr(t *testing.T) {
	for f, want := range map[float64]string{
		7: "7.0", 0.5: "0.5", 1e16: "1e+16", 1e15: "1000000000000000.0", 0.0001: "0.0001", 0.00001: "1e-05",
		-0.1: "-0.1", math.Inf(1): "inf", math.Inf(-1): "-inf", 1e300: "1e+300", 0.30000000000000004: "0.30000000000000004",
	} {
		require.Equal(t, want, pyjson.Repr(f))
	}
}

func TestObjectKeepsOrder(t *testing.T) {
	o := pyjson.NewObject("b", int64(1), "a", nil)
	o.Set("c", "x")
	o.Set("b", pyjson.Base64("hi"))
	o.Delete("a")
	out, err := pyjson.Marshal(o, pyjson.Compact)
	require.NoError(t, err)
	const want = `{"b":"aGk=","c":"x"}`
	require.Empty(t, strings.TrimPrefix(string(out), want))
}

func FuzzDecode(f *testing.F) {
	for _, s := range []string{`{"a":[1,2.5,"x\u00e9"],"b":null}`, `[NaN,-Infinity,1e999]`, `"\ud83d\ude00"`, `{"a":`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		v, err := pyjson.Decode(doc)
		if err != nil {
			return
		}
		text, err := pyjson.Marshal(v, pyjson.Dumps)
		require.NoError(t, err)
		again, err := pyjson.Decode(text)
		require.NoError(t, err)
		second, err := pyjson.Marshal(again, pyjson.Dumps)
		require.NoError(t, err)
		require.Equal(t, string(text), string(second))
	})
}
