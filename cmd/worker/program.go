package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"sdworker/inference"
)

// Exit statuses. Ctrl-C gives 130, see signaled.
const (
	statusOK = iota
	statusError
	statusUsage
)

// program is one run of the worker with all that it reads and writes, so that
// tests can run it in their own process.
type program struct {
	in       io.Reader
	out, err io.Writer
	environ  map[string]string

	open inference.OpenFunc // loads checkpoints; nil is the engine
}

// verb is one subcommand.
type verb struct {
	name   string
	args   string // of the command line, after the flags
	short  string // one line for the list
	long   string // the rest of the help
	hidden bool
	verbs  []*verb // subcommands, instead of run or beside it

	// settings returns the structs whose fields become flags.
	settings func() []settings
	// foreign, unless nil, registers flags of another kind and returns what
	// their values go to, which becomes call.foreign.
	foreign func(fs *flag.FlagSet) any
	run     func(ctx context.Context, p *program, c *call) error
}

// call is one parsed command line.
type call struct {
	verb  *verb
	args  []string
	given map[string]string // flags by variable name, see settings

	foreign any
}

// usageError is a mistake in the command line or the configuration.
type usageError struct {
	errs []error
	hint string // what to type next
}

func (e *usageError) Error() string { return errors.Join(e.errs...).Error() }

func usagef(format string, args ...any) error {
	return &usageError{errs: []error{fmt.Errorf(format, args...)}}
}

func (p *program) run(ctx context.Context, args []string) int {
	err := p.dispatch(ctx, root, "worker", args)
	var usage *usageError
	var sig signaled
	switch {
	case err == nil:
		return statusOK
	case errors.As(err, &usage):
		for _, e := range usage.errs {
			fmt.Fprintf(p.err, "worker: %v\n", e)
		}
		if usage.hint != "" {
			fmt.Fprintf(p.err, "Try: %s\n", usage.hint)
		}
		return statusUsage
	case errors.As(context.Cause(ctx), &sig): // whatever the error says, that is why
		fmt.Fprintf(p.err, "worker: %s\n", sig)
		return sig.status()
	}
	fmt.Fprintf(p.err, "worker: %v\n", err)
	return statusError
}

// dispatch finds the verb that args name, below v, and runs it. path is how the
// user got to v.
func (p *program) dispatch(ctx context.Context, v *verb, path string, args []string) error {
	if v.verbs == nil || v.run != nil && (len(args) == 0 || v.find(args[0]) == nil && args[0] != "help") {
		return p.runVerb(ctx, v, path, args)
	}
	if len(args) == 0 {
		p.printVerbs(v, path, p.err)
		return usagef("no command given")
	}
	name, rest := args[0], args[1:]
	switch name {
	case "-h", "--help", "-help", "help":
		return p.help(v, path, rest)
	case "--version", "-version":
		name = "version"
	}
	if sub := v.find(name); sub != nil {
		return p.dispatch(ctx, sub, path+" "+sub.name, rest)
	}
	return &usageError{
		errs: []error{fmt.Errorf("unknown command %q%s", name, didYouMean(name, v.names()))},
		hint: path + " help",
	}
}

func (p *program) help(v *verb, path string, args []string) error {
	for _, name := range args {
		sub := v.find(name)
		if sub == nil {
			return &usageError{
				errs: []error{fmt.Errorf("unknown command %q%s", name, didYouMean(name, v.names()))},
				hint: path + " help",
			}
		}
		v, path = sub, path+" "+sub.name
	}
	if v.run == nil {
		p.printVerbs(v, path, p.out)
		return nil
	}
	p.printFlags(v, path, p.out)
	return nil
}

func (p *program) runVerb(ctx context.Context, v *verb, path string, args []string) error {
	c, err := parse(v, args)
	if errors.Is(err, flag.ErrHelp) {
		p.printFlags(v, path, p.out)
		return nil
	}
	if err == nil {
		err = v.run(ctx, p, c)
	}
	var usage *usageError
	if errors.As(err, &usage) && usage.hint == "" {
		usage.hint = path + " --help"
	}
	return err
}

func (v *verb) find(name string) *verb {
	i := slices.IndexFunc(v.verbs, func(s *verb) bool { return s.name == name })
	if i < 0 {
		return nil
	}
	return v.verbs[i]
}

func (v *verb) names() []string {
	var names []string
	for _, s := range v.verbs {
		if !s.hidden {
			names = append(names, s.name)
		}
	}
	return names
}

func (p *program) printVerbs(v *verb, path string, w io.Writer) {
	fmt.Fprintf(w, "%s\n\nUsage: %s COMMAND [flags]\n\n", v.short, path)
	tw := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	for _, s := range v.verbs {
		if !s.hidden {
			fmt.Fprintf(tw, "  %s\t%s\n", strings.TrimSpace(s.name), s.short)
		}
	}
	tw.Flush()
	fmt.Fprintf(w, "\n%s help COMMAND describes one of them.\n", path)
	if v.long != "" {
		fmt.Fprintf(w, "\n%s\n", v.long)
	}
}

func (p *program) printFlags(v *verb, path string, w io.Writer) {
	usage := path
	if v.settings != nil {
		usage += " [flags]"
	}
	if v.args != "" {
		usage += " " + v.args
	}
	fmt.Fprintf(w, "%s\n\nUsage: %s\n", v.short, usage)
	if v.long != "" {
		fmt.Fprintf(w, "\n%s\n", v.long)
	}
	if v.foreign != nil {
		fs := flag.NewFlagSet(v.name, flag.ContinueOnError)
		v.foreign(fs)
		fmt.Fprintln(w)
		fs.VisitAll(func(f *flag.Flag) { fmt.Fprintf(w, "  --%s\n        %s\n", f.Name, f.Usage) })
	}
	for _, s := range v.allSettings() {
		fmt.Fprintf(w, "\n%s\n", s.title)
		for _, f := range s.fields() {
			fmt.Fprintf(w, "  --%s%s\n        %s\n", f.flag, f.argument(), f.describe(s.environment))
		}
	}
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
