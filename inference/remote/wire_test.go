package remote

import (
	"bytes"
	"errors"
	"os/exec"
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"sdworker/fault"
	"sdworker/inference"
)

// Everything in a request must reach the other side: an unexported field or one
// that gob cannot carry would be lost without a word.
func TestMessagesArriveWhole(t *testing.T) {
	for _, of := range []reflect.Type{
		reflect.TypeFor[inference.Request](), reflect.TypeFor[inference.UpscaleRequest](), reflect.TypeFor[inference.Files](),
		reflect.TypeFor[inference.Result](), reflect.TypeFor[inference.Progress](), reflect.TypeFor[inference.Status](),
	} {
		t.Run(of.Name(), rapid.MakeCheck(func(t *rapid.T) {
			want := message{Kind: kindGenerate, Call: 1}
			value := reflect.New(of)
			fill(t, value.Elem(), 0)
			for i := range reflect.TypeFor[message]().NumField() {
				if f := reflect.ValueOf(&want).Elem().Field(i); f.Type() == value.Type() {
					f.Set(value)
				}
			}
			var wire bytes.Buffer
			require.NoError(t, newSender(&wire).send(want))
			got, err := newReceiver(&wire).receive()
			require.NoError(t, err)
			require.Equal(t, want, got)
		}))
	}
}

// fill sets every field to an arbitrary value. Lists and maps are nil or have
// elements, as gob makes no difference between nil and empty.
func fill(t *rapid.T, v reflect.Value, depth int) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			require.True(t, v.Type().Field(i).IsExported(), "%s.%s would not be sent", v.Type(), v.Type().Field(i).Name)
			fill(t, v.Field(i), depth+1)
		}
	case reflect.Pointer:
		if depth < 6 && rapid.Bool().Draw(t, "set") {
			v.Set(reflect.New(v.Type().Elem()))
			fill(t, v.Elem(), depth+1)
		}
	case reflect.Slice:
		if n := rapid.IntRange(0, 3).Draw(t, "length"); n > 0 {
			v.Set(reflect.MakeSlice(v.Type(), n, n))
			for i := range n {
				fill(t, v.Index(i), depth+1)
			}
		}
	case reflect.Array:
		for i := range v.Len() {
			fill(t, v.Index(i), depth+1)
		}
	case reflect.Map:
		if n := rapid.IntRange(0, 2).Draw(t, "length"); n > 0 {
			v.Set(reflect.MakeMap(v.Type()))
			for range n {
				key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
				fill(t, key, depth+1)
				fill(t, value, depth+1)
				v.SetMapIndex(key, value)
			}
		}
	case reflect.String:
		v.SetString(rapid.String().Draw(t, "text"))
	case reflect.Bool:
		v.SetBool(rapid.Bool().Draw(t, "bool"))
	case reflect.Int, reflect.Int64:
		v.SetInt(rapid.Int64().Draw(t, "int"))
	case reflect.Uint64:
		v.SetUint(rapid.Uint64().Draw(t, "number"))
	case reflect.Uint8:
		v.SetUint(uint64(rapid.Uint8().Draw(t, "byte")))
	case reflect.Float64:
		v.SetFloat(rapid.Float64().Draw(t, "float"))
	default:
		t.Fatalf("%s cannot be filled: does gob carry it?", v.Type())
	}
}

func TestErrorsSurviveTheWire(t *testing.T) {
	require.NoError(t, failureOf(nil).err())
	plain := failureOf(errors.New("boom")).err()
	require.Equal(t, fault.Internal, fault.CodeOf(plain))
	require.EqualError(t, plain, "boom")
}

func TestABusErrorIsExplained(t *testing.T) {
	cmd := exec.Command("sh", "-c", "kill -BUS $$")
	require.Error(t, cmd.Run())
	require.ErrorContains(t, deathOf(cmd.ProcessState, "", "", false), "cut short")
}

func TestLastWords(t *testing.T) {
	for _, tc := range []struct {
		name, in, want string
	}{
		{"nothing", "", ""},
		{"the last plain line", "one\ntwo\n", "two"},
		{"an unfinished line", "one\ntwo", "two"},
		{"an assertion before its stack", "load\n/x/ggml.c:1: GGML_ASSERT(a) failed\n#0 main\n", "/x/ggml.c:1: GGML_ASSERT(a) failed"},
		{"the engine's own word", "engine aborted: CUDA error: out of memory\nSIGABRT: abort\n", "CUDA error: out of memory"},
		{"a panic", "panic: nil map\n\ngoroutine 1\n", "panic: nil map"},
		{"an error in the log", `{"level":"error","message":"cannot map","error":"EINVAL"}` + "\nbye\n", "cannot map: EINVAL"},
		{"no error in the log", `{"level":"info","message":"loaded"}` + "\n", ""},
		{"progress bars", "10%\r20%\r30%\n", "30%"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var o output
			_, _ = o.Write([]byte(tc.in))
			require.Equal(t, tc.want, o.lastWords())
		})
	}
}
