package main

import (
	"encoding"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/caarlos0/env/v10"
)

// settings is a struct whose fields are configured from the command line and,
// when environment is set, from the environment. Field tags are those of package
// env, and doc for the help. The variable MODELS_DIR is the flag --models-dir.
type settings struct {
	title         string
	target        any // pointer to the struct
	environment   bool
	variablesOnly bool // no flags
}

// field is one setting.
type field struct {
	variable string
	flag     string
	preset   string // the default, "" for none
	doc      string
	kind     reflect.Kind
}

func (v *verb) allSettings() []settings {
	if v.settings == nil {
		return nil
	}
	return v.settings()
}

func (s settings) fields() []field {
	t := reflect.TypeOf(s.target).Elem()
	var out []field
	for f := range t.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("env"), ",")
		if name == "" {
			continue
		}
		kind := f.Type.Kind()
		if kind == reflect.Pointer { // may be left open
			kind = f.Type.Elem().Kind()
		}
		if reflect.PointerTo(f.Type).Implements(reflect.TypeFor[encoding.TextUnmarshaler]()) {
			kind = reflect.String
		}
		out = append(out, field{
			variable: name, flag: strings.ReplaceAll(strings.ToLower(name), "_", "-"),
			preset: f.Tag.Get("envDefault"), doc: f.Tag.Get("doc"), kind: kind,
		})
	}
	return out
}

// argument is what follows the flag's name in the help.
func (f field) argument() string {
	switch f.kind {
	case reflect.Bool:
		return ""
	case reflect.Int, reflect.Int64, reflect.Float64:
		return " N"
	default:
		return " TEXT"
	}
}

func (f field) describe(environment bool) string {
	s := f.doc
	if f.preset != "" {
		s += fmt.Sprintf(" (default %s)", f.preset)
	}
	if environment {
		s += fmt.Sprintf(" [%s]", f.variable)
	}
	return s
}

// recorder is a flag.Value that notes what was given. Parsing the text is left
// to env, so that flags and variables follow the same rules.
type recorder struct {
	field field
	given map[string]string
}

func (r *recorder) String() string   { return "" }
func (r *recorder) IsBoolFlag() bool { return r.field.kind == reflect.Bool }

func (r *recorder) Set(s string) error {
	r.given[r.field.variable] = s
	return nil
}

// parse splits a command line into flags and arguments. Flags may stand before
// and after arguments; "--" ends them.
func parse(v *verb, args []string) (*call, error) {
	c := &call{verb: v, given: map[string]string{}}
	fs := flag.NewFlagSet(v.name, flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.Usage = func() {}
	var names []string
	for _, s := range v.allSettings() {
		for _, f := range s.fields() {
			fs.Var(&recorder{f, c.given}, f.flag, f.doc)
			names = append(names, "--"+f.flag)
		}
	}
	if v.foreign != nil {
		c.foreign = v.foreign(fs)
	}
	var errs []error
	for {
		err := fs.Parse(args)
		if errors.Is(err, flag.ErrHelp) {
			return nil, err
		}
		if err != nil {
			errs = append(errs, flagError(err, names))
			args = fs.Args()
			continue
		}
		rest := fs.Args()
		if len(rest) == 0 {
			break
		}
		if consumed := len(args) - len(rest); consumed > 0 && args[consumed-1] == "--" {
			c.args = append(c.args, rest...)
			break
		}
		c.args = append(c.args, rest[0])
		args = rest[1:]
	}
	if v.args == "" && len(c.args) > 0 && errs == nil { // not the value of an unknown flag
		errs = append(errs, fmt.Errorf("unexpected argument %q", c.args[0]))
	}
	if errs != nil {
		return nil, &usageError{errs: errs}
	}
	return c, nil
}

func flagError(err error, names []string) error {
	if name, ok := strings.CutPrefix(err.Error(), "flag provided but not defined: -"); ok {
		return fmt.Errorf("unknown flag --%s%s", name, didYouMean("--"+name, names))
	}
	if name, ok := strings.CutPrefix(err.Error(), "flag needs an argument: -"); ok {
		return fmt.Errorf("flag --%s needs a value", name)
	}
	return err
}

// load fills all settings, flags before the environment, and reports every
// mistake at once.
func (c *call) load(environ map[string]string, all ...settings) error {
	var errs []error
	for _, s := range all {
		values := c.given
		if s.environment {
			values = maps.Clone(environ)
			maps.Copy(values, c.given)
		}
		err := env.ParseWithOptions(s.target, env.Options{Environment: values})
		errs = append(errs, c.explain(s, err)...)
		if v, ok := s.target.(interface{ validate() []error }); ok && err == nil {
			for _, err := range v.validate() {
				errs = append(errs, c.asGiven(s, err))
			}
		}
	}
	if errs != nil {
		return &usageError{errs: errs}
	}
	return nil
}

// asGiven makes an error that begins with the name of a variable begin with the
// flag, when that is what the user wrote.
func (c *call) asGiven(s settings, err error) error {
	name, rest, _ := strings.Cut(err.Error(), " ")
	for _, f := range s.fields() {
		if _, given := c.given[f.variable]; given && f.variable == name {
			return fmt.Errorf("--%s %s", f.flag, rest)
		}
	}
	return err
}

// explain replaces struct fields in env's errors by what the user wrote.
func (c *call) explain(s settings, err error) []error {
	if err == nil {
		return nil
	}
	var all env.AggregateError
	if !errors.As(err, &all) {
		return []error{err}
	}
	t := reflect.TypeOf(s.target).Elem()
	var out []error
	for _, e := range all.Errors {
		var pe env.ParseError
		if !errors.As(e, &pe) {
			out = append(out, e)
			continue
		}
		f, _ := t.FieldByName(pe.Name)
		variable, _, _ := strings.Cut(f.Tag.Get("env"), ",")
		i := slices.IndexFunc(s.fields(), func(f field) bool { return f.variable == variable })
		name, value := variable, ""
		if i >= 0 {
			if given, ok := c.given[variable]; ok {
				name, value = "--"+s.fields()[i].flag, given
			}
		}
		if value != "" {
			value = fmt.Sprintf(" %q", value)
		}
		out = append(out, fmt.Errorf("%s%s: %w", name, value, pe.Err))
	}
	return out
}
