package dynamicprompts_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"sdworker/api/sdapi/dynamicprompts"
	"sdworker/inference/rng"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// recordedCase is what the library made of one template (testdata/record.py).
type recordedCase struct {
	Kind     string
	Template string
	Seeds    []int64
	Want     any

	IgnoreWhitespace bool `json:"ignore_whitespace"`
	Syntax           []string
	NoSort           bool `json:"no_sort"`
	NoDedup          bool `json:"no_dedup"`
}

func (c recordedCase) run() ([]string, error) {
	t := dynamicprompts.Template{
		IgnoreWhitespace: c.IgnoreWhitespace,
		Wildcards:        &dynamicprompts.Wildcards{Folders: []string{"testdata/wildcards"}, NoSort: c.NoSort, NoDedup: c.NoDedup},
	}
	if len(c.Syntax) == 3 {
		t.Syntax = dynamicprompts.Syntax{VariantStart: c.Syntax[0], VariantEnd: c.Syntax[1], WildcardWrap: c.Syntax[2]}
	}
	if c.Kind == "random" {
		return t.Random(c.Template, c.Seeds)
	}
	const limit = 40
	got, err := t.Combinatorial(c.Template, limit, rng.NewPython(c.Seeds[0]))
	if err == dynamicprompts.ErrTooMany { //nolint:errorlint // exactly this one
		err = nil
	}
	return got, err
}

func TestRecorded(t *testing.T) {
	name := "testdata/recorded.json"
	if more := os.Getenv("DYNAMICPROMPTS_CASES"); more != "" {
		name = more
	}
	raw, err := os.ReadFile(name)
	require.NoError(t, err)
	var file struct{ Cases []recordedCase }
	require.NoError(t, json.Unmarshal(raw, &file))
	require.Greater(t, len(file.Cases), 1000)
	for _, c := range file.Cases {
		got, err := c.run()
		if text, failed := c.Want.(string); failed {
			if c.Template == "" { // the library fails, here nothing is something
				require.Equal(t, make([]string, len(c.Seeds)), got)
				continue
			}
			require.Error(t, err, "%s %q: %s", c.Kind, c.Template, text)
			continue
		}
		require.NoError(t, err, "%s %q", c.Kind, c.Template)
		want := []string{}
		for _, s := range c.Want.([]any) {
			want = append(want, s.(string))
		}
		require.Equal(t, want, append([]string{}, got...), "%s %q", c.Kind, c.Template)
	}
}

func TestNoWayOut(t *testing.T) {
	outside := t.TempDir()
	write := func(path, text string) {
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	}
	write(filepath.Join(outside, "far.txt"), "outside")
	write(filepath.Join(outside, "folder", "near.txt"), "outside")
	inside := t.TempDir()
	write(filepath.Join(inside, "near.txt"), "inside")
	write(filepath.Join(inside, "below", "deep.txt"), "below")
	for from, to := range map[string]string{
		"far.txt": filepath.Join(outside, "far.txt"), "up.txt": "../" + filepath.Base(outside) + "/far.txt",
		"folder": filepath.Join(outside, "folder"), "again": "below", "loop": ".", "same.txt": "near.txt",
	} {
		require.NoError(t, os.Symlink(to, filepath.Join(inside, from)))
	}
	tmpl := dynamicprompts.Template{Wildcards: &dynamicprompts.Wildcards{Folders: []string{inside}}}
	for name, want := range map[string][]string{
		"near": {"inside"}, "same": {"inside"}, "again/deep": {"below"}, "*": {"below", "inside"},
		"far": {"__far__"}, "up": {"__up__"}, "folder/near": {"__folder/near__"}, "../" + filepath.Base(outside) + "/far": {"__../" + filepath.Base(outside) + "/far__"},
		filepath.Join(outside, "far"): {"__" + filepath.Join(outside, "far") + "__"},
	} {
		got, err := tmpl.Combinatorial("__"+name+"__", 2, rng.NewPython(1))
		if len(want) == 1 && strings.HasPrefix(want[0], "__") {
			want = []string{want[0], want[0]} // for ever
		} else {
			require.NoError(t, err)
		}
		require.Equal(t, want, got, name)
	}
	tmpl.Wildcards.Cache = new(dynamicprompts.Cache)
	for _, text := range []string{"one", "another"} { // a file that changes is read again
		write(filepath.Join(inside, "list.json"), `["`+text+`"]`)
		for range 2 {
			got, err := tmpl.Combinatorial("__list__", 2, rng.NewPython(1))
			require.NoError(t, err)
			require.Equal(t, []string{text}, got)
		}
	}
	names, err := tmpl.Wildcards.Names()
	require.NoError(t, err)
	require.NotContains(t, names, "far")
	require.Contains(t, names, "below/deep")
}

func TestHostileTemplates(t *testing.T) {
	folder := t.TempDir()
	for name, text := range map[string]string{
		"self.txt": "__self__", "twice.txt": "__twice__ __twice__", "long.txt": strings.Repeat("x", 100_000),
		"bomb.yaml": "a: &a [x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e,*e]\ng: [*f,*f,*f,*f,*f,*f,*f,*f,*f,*f]\n",
	} {
		require.NoError(t, os.WriteFile(filepath.Join(folder, name), []byte(text), 0o644))
	}
	tmpl := dynamicprompts.Template{Wildcards: &dynamicprompts.Wildcards{Folders: []string{folder}}}
	for name, text := range map[string]string{
		"nested":   strings.Repeat("{", 10_000),
		"closed":   strings.Repeat("{", 10_000) + strings.Repeat("}", 10_000),
		"paths":    strings.Repeat("__{", 5_000),
		"self":     "__self__",
		"twice":    "__twice__",
		"long":     "__long__ __long__",
		"variable": "${x=${y}}${y=${x}}${x}",
	} {
		_, err := tmpl.Combinatorial(text, 10, rng.NewPython(1))
		require.Error(t, err, name)
		_, err = tmpl.Random(text, []int64{1})
		require.Error(t, err, name)
	}
	got, err := tmpl.Random("__g__", []int64{1})
	require.NoError(t, err)
	require.Equal(t, []string{"__g__"}, got, "a file of too many values has none")
}

func FuzzTemplates(f *testing.F) {
	for _, s := range []string{"{a|b}", "__colour__", "${x=a}${x}", "%{a...$$b}", "{2$$, $$~a|@b}", "__animal(x=1)__", "#x\n//y"} {
		f.Add(s, int64(1))
	}
	tmpl := dynamicprompts.Template{Wildcards: &dynamicprompts.Wildcards{Folders: []string{"testdata/wildcards"}}}
	f.Fuzz(func(t *testing.T, text string, seed int64) {
		once, err := tmpl.Random(text, []int64{seed, seed + 1})
		again, err2 := tmpl.Random(text, []int64{seed, seed + 1})
		require.Equal(t, once, again)
		require.Equal(t, err == nil, err2 == nil)
		_, _ = tmpl.Combinatorial(text, 20, rng.NewPython(seed))
	})
}
