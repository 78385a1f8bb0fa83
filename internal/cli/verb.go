// Package cli is the machinery of the command line: a tree of verbs, whose
// settings are structs that flags and environment variables fill, help and tables
// made of the same tags, and exit statuses.
package cli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
)

// Exit statuses. A program that a signal ended has 128 and the signal's number.
const (
	StatusOK = iota
	StatusError
	StatusUsage
)

// Terminal is what one run of a program reads and writes.
type Terminal struct {
	In       io.Reader
	Out, Err io.Writer
	Environ  map[string]string
}

// Verb is one subcommand of a program that keeps its own state in a P.
type Verb[P any] struct {
	Name  string
	Args  string // of the command line, after the flags
	Short string // one line for the list
	Long  string // the rest of the help
	// Examples are command lines, from the program's name on.
	Examples []string
	Hidden   bool
	Verbs    []*Verb[P] // subcommands, instead of New or beside it

	// New returns the command with nothing set.
	New func() Command[P]
}

// Command is one run of a verb. When it runs, its settings are filled and every
// one of them is valid by itself.
type Command[P any] interface {
	// Settings returns the structs whose fields become flags. They belong to the
	// command.
	Settings() []Settings
	Run(ctx context.Context, p P, c *Call) error
}

// Validator is a Settings.Target or a Command that knows more about its values
// than their types say. A message that begins with the name of a variable is shown
// with the flag where the user gave that.
type Validator interface{ Validate() []error }

// Flagger is a Command that has flags of another kind beside its settings.
type Flagger interface{ RegisterFlags(fs *flag.FlagSet) }

// Call is one parsed command line.
type Call struct {
	Args  []string
	Given map[string]string // flags by the names of their variables
}

// UsageError is a mistake in the command line or the configuration.
type UsageError struct {
	Errs []error
	Hint string // what to type next
}

func (e *UsageError) Error() string { return errors.Join(e.Errs...).Error() }

// Usagef is a UsageError of one sentence.
func Usagef(format string, args ...any) error {
	return &UsageError{Errs: []error{fmt.Errorf(format, args...)}}
}

// Run finds the verb that args name below root, the program, runs it, prints its
// error and returns the exit status.
func Run[P any](ctx context.Context, t *Terminal, p P, root *Verb[P], args []string) int {
	err := (&run[P]{t, p}).dispatch(ctx, root, root.Name, args)
	var usage *UsageError
	var sig SignalError
	switch {
	case err == nil:
		return StatusOK
	case errors.As(err, &usage):
		for _, e := range usage.Errs {
			fmt.Fprintf(t.Err, "%s: %v\n", root.Name, e)
		}
		if usage.Hint != "" {
			fmt.Fprintf(t.Err, "Try: %s\n", usage.Hint)
		}
		return StatusUsage
	case errors.As(context.Cause(ctx), &sig): // whatever the error says, that is why
		fmt.Fprintf(t.Err, "%s: %s\n", root.Name, sig)
		return sig.Status()
	}
	fmt.Fprintf(t.Err, "%s: %v\n", root.Name, err)
	return StatusError
}

type run[P any] struct {
	*Terminal
	program P
}

// dispatch finds the verb that args name, below v, and runs it. path is how the
// user got to v.
func (r *run[P]) dispatch(ctx context.Context, v *Verb[P], path string, args []string) error {
	if v.Verbs == nil || v.New != nil && (len(args) == 0 || v.find(args[0]) == nil && args[0] != "help") {
		return r.verb(ctx, v, path, args)
	}
	if len(args) == 0 {
		printVerbs(v, path, r.Err)
		return Usagef("no command given")
	}
	name, rest := args[0], args[1:]
	switch name {
	case "-h", "--help", "-help", "help":
		return r.help(v, path, rest)
	case "--version", "-version":
		name = "version"
	}
	if sub := v.find(name); sub != nil {
		return r.dispatch(ctx, sub, path+" "+sub.Name, rest)
	}
	return v.unknown(name, path)
}

func (v *Verb[P]) unknown(name, path string) error {
	return &UsageError{
		Errs: []error{fmt.Errorf("unknown command %q%s", name, didYouMean(name, v.names()))},
		Hint: path + " help",
	}
}

func (r *run[P]) help(v *Verb[P], path string, args []string) error {
	for _, name := range args {
		sub := v.find(name)
		if sub == nil {
			return v.unknown(name, path)
		}
		v, path = sub, path+" "+sub.Name
	}
	if v.New == nil {
		printVerbs(v, path, r.Out)
		return nil
	}
	printFlags(v, path, r.Out)
	return nil
}

// verb runs v once its settings are loaded.
func (r *run[P]) verb(ctx context.Context, v *Verb[P], path string, args []string) error {
	command := v.New()
	c, err := Load(v, command, r.Environ, args)
	if errors.Is(err, flag.ErrHelp) {
		printFlags(v, path, r.Out)
		return nil
	}
	if err == nil {
		err = command.Run(ctx, r.program, c)
	}
	var usage *UsageError
	if errors.As(err, &usage) && usage.Hint == "" {
		usage.Hint = path + " --help"
	}
	return err
}

func (v *Verb[P]) find(name string) *Verb[P] {
	i := slices.IndexFunc(v.Verbs, func(s *Verb[P]) bool { return s.Name == name })
	if i < 0 {
		return nil
	}
	return v.Verbs[i]
}

func (v *Verb[P]) names() []string {
	var names []string
	for _, s := range v.Verbs {
		if !s.Hidden {
			names = append(names, s.Name)
		}
	}
	return names
}

// Settings are those of the verb's command, none for a verb that only has
// subcommands.
func (v *Verb[P]) Settings() []Settings {
	if v.New == nil {
		return nil
	}
	return v.New().Settings()
}

// didYouMean suggests the nearest of names, or nothing.
func didYouMean(got string, names []string) string {
	best, distance := "", 3 // two typing errors at most
	for _, name := range names {
		if d := editDistance(got, name); d < distance {
			best, distance = name, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf(", did you mean %q?", best)
}

// editDistance is Levenshtein's.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(diagonal+cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
