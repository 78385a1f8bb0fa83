package cli

import "flag"

// outline is what completion and manual pages tell of a verb.
type outline struct {
	path  string // "worker models pull"
	short string
	long  string
	args  string
	lines []string // examples
	verbs []*outline
	flags []outlineFlag
	name  string
	runs  bool // without a subcommand
}

// outlineFlag is one flag of a verb.
type outlineFlag struct {
	name  string // without dashes
	group string // title of its settings, "" for those of a Flagger
	value string // " N", " TEXT", "" for a switch
	text  string
}

// outlineOf collects a verb and those below it, without the hidden ones.
func outlineOf[P any](v *Verb[P], path string) *outline {
	o := &outline{path: path, name: v.Name, short: v.Short, long: v.Long, args: v.Args, lines: v.Examples, runs: v.New != nil}
	for _, sub := range v.Verbs {
		if !sub.Hidden {
			o.verbs = append(o.verbs, outlineOf(sub, path+" "+sub.Name))
		}
	}
	if v.New == nil {
		return o
	}
	command := v.New()
	if f, ok := command.(Flagger); ok {
		fs := flag.NewFlagSet(v.Name, flag.ContinueOnError)
		f.RegisterFlags(fs)
		fs.VisitAll(func(f *flag.Flag) {
			one := outlineFlag{name: f.Name, value: " TEXT", text: f.Usage}
			if b, ok := f.Value.(interface{ IsBoolFlag() bool }); ok && b.IsBoolFlag() {
				one.value = ""
			}
			o.flags = append(o.flags, one)
		})
	}
	for _, s := range command.Settings() {
		if s.VariablesOnly {
			continue
		}
		for _, f := range s.Fields() {
			o.flags = append(o.flags, outlineFlag{name: f.Flag, group: s.Title, value: f.argument(), text: f.describe(s.Environment)})
		}
	}
	return o
}

// all are the verb and those below it, from the top.
func (o *outline) all() []*outline {
	list := []*outline{o}
	for _, sub := range o.verbs {
		list = append(list, sub.all()...)
	}
	return list
}

// names are the subcommands, and help where a program or a group of verbs has it.
func (o *outline) names() []string {
	var names []string
	for _, sub := range o.verbs {
		names = append(names, sub.name)
	}
	if len(o.verbs) > 0 {
		names = append(names, "help")
	}
	return names
}
