package cli_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sdworker/internal/cli"
)

// paint is a command with settings of every kind.
type paint struct {
	colours struct {
		Name   string        `env:"NAME" envDefault:"red" doc:"a colour"`
		Wait   time.Duration `env:"WAIT" doc:"before it is used"`
		Others []string      `env:"OTHERS" doc:"more"`
		Dry    *bool         `env:"DRY" doc:"touch nothing"`
		Token  string        `env:"TOKEN" secret:"true" doc:"of the shop"`
	}
	depth depth
	place struct {
		Wall int `env:"WALL" doc:"number"`
	}
}

type depth struct {
	Layers int `env:"LAYERS" envDefault:"1" doc:"of paint"`
}

func (d *depth) Validate() []error {
	if d.Layers < 1 {
		return []error{fmt.Errorf("LAYERS is %d", d.Layers)}
	}
	return nil
}

func (p *paint) Settings() []cli.Settings {
	return []cli.Settings{
		{Title: "Colours:", Target: &p.colours, Environment: true},
		{Title: "Depth:", Target: &p.depth},
		{Title: "Place:", Target: &p.place, Environment: true, VariablesOnly: true},
	}
}

func (p *paint) Run(_ context.Context, log *[]string, c *cli.Call) error {
	*log = append(*log, fmt.Sprint(p.colours.Name, p.depth.Layers, p.place.Wall, c.Args))
	if len(c.Args) > 0 {
		return errors.New("too wet")
	}
	return nil
}

func (p *paint) Validate() []error {
	if p.colours.Name == "none" {
		return []error{errors.New("none is no colour")}
	}
	return nil
}

func TestRun(t *testing.T) {
	root := &cli.Verb[*[]string]{Name: "tool", Verbs: []*cli.Verb[*[]string]{
		{Name: "paint", Args: "[WALL ...]", Short: "paint walls", New: func() cli.Command[*[]string] { return new(paint) }},
	}}
	for _, tc := range []struct {
		args   []string
		status int
		ran    []string
		err    string
	}{
		{[]string{"paint"}, cli.StatusOK, []string{"blue1 7 []"}, ""},
		{[]string{"paint", "--name", "green", "--layers=2"}, cli.StatusOK, []string{"green2 7 []"}, ""},
		{[]string{"paint", "left", "--name", "green", "right"}, cli.StatusError, []string{"green1 7 [left right]"}, "tool: too wet\n"},
		{[]string{"paint", "--layers", "0", "--wait", "soon"}, cli.StatusUsage, nil, "--layers is 0\nTry: tool paint --help\n"},
		{[]string{"paint", "--name", "none"}, cli.StatusUsage, nil, "none is no colour"},
		{[]string{"paint", "--wall", "3"}, cli.StatusUsage, nil, "unknown flag --wall"},
		{[]string{"pain"}, cli.StatusUsage, nil, `did you mean "paint"?`},
	} {
		var ran []string
		var errOut bytes.Buffer
		terminal := &cli.Terminal{Out: &bytes.Buffer{}, Err: &errOut, Environ: map[string]string{"NAME": "blue", "WALL": "7", "LAYERS": "9"}}
		require.Equal(t, tc.status, cli.Run(t.Context(), terminal, &ran, root, tc.args), "%v: %s", tc.args, errOut.String())
		require.Equal(t, tc.ran, ran)
		require.Contains(t, errOut.String(), tc.err)
	}
}

// What another process is told can be read again and holds no secret.
func TestVariables(t *testing.T) {
	var p paint
	p.colours.Name, p.colours.Wait, p.colours.Others, p.colours.Token = "red", time.Minute, []string{"a", "b"}, "t"
	require.Equal(t, map[string]string{"NAME": "red", "WAIT": "1m0s", "OTHERS": "a,b"}, p.Settings()[0].Variables())
	p.colours.Dry = new(bool)
	require.Equal(t, "false", p.Settings()[0].Variables()["DRY"])
}

func TestSuggestions(t *testing.T) {
	root := &cli.Verb[any]{Name: "tool", Verbs: []*cli.Verb[any]{{Name: "serve"}, {Name: "generate"}}}
	for got, want := range map[string]string{"serv": `"serv", did you mean "serve"?`, "genrat": `"genrat", did you mean "generate"?`, "dance": `"dance"` + "\n"} {
		var errOut bytes.Buffer
		require.Equal(t, cli.StatusUsage, cli.Run(t.Context(), &cli.Terminal{Err: &errOut}, nil, root, []string{got}))
		require.Contains(t, errOut.String(), want)
	}
}
