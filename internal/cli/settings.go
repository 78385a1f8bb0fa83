package cli

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
	"time"

	"github.com/caarlos0/env/v10"
)

// Settings is a struct whose fields are configured from the command line and,
// when Environment is set, from the environment. Tags of a field are those of
// package env, doc for the help, and secret:"true" for what no other process may
// learn. The variable MODELS_DIR is the flag --models-dir.
type Settings struct {
	Title         string
	Target        any // pointer to the struct
	Environment   bool
	VariablesOnly bool // no flags
}

// Field is one setting.
type Field struct {
	Variable string
	Flag     string
	Default  string // "" for none
	Doc      string
	Secret   bool
	kind     reflect.Kind
	index    int
}

// Fields are the settings of the struct.
func (s Settings) Fields() []Field {
	t := reflect.TypeOf(s.Target).Elem()
	var out []Field
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("env"), ",")
		if name == "" {
			continue
		}
		kind := f.Type.Kind()
		if kind == reflect.Pointer { // may be left open
			kind = f.Type.Elem().Kind()
		}
		if reflect.PointerTo(f.Type).Implements(reflect.TypeFor[encoding.TextUnmarshaler]()) || f.Type == reflect.TypeFor[time.Duration]() {
			kind = reflect.String
		}
		out = append(out, Field{
			Variable: name, Flag: strings.ReplaceAll(strings.ToLower(name), "_", "-"), Default: f.Tag.Get("envDefault"),
			Doc: f.Tag.Get("doc"), Secret: f.Tag.Get("secret") == "true", kind: kind, index: i,
		})
	}
	return out
}

// Variables are the values of the settings as another process of the program reads
// them from its environment. Secrets and what was left open are not among them.
func (s Settings) Variables() map[string]string {
	target := reflect.ValueOf(s.Target).Elem()
	out := map[string]string{}
	for _, f := range s.Fields() {
		value := target.Field(f.index)
		if value.Kind() == reflect.Pointer {
			if value.IsNil() {
				continue
			}
			value = value.Elem()
		}
		if f.Secret {
			continue
		}
		if list, ok := reflect.TypeAssert[[]string](value); ok {
			out[f.Variable] = strings.Join(list, ",")
			continue
		}
		out[f.Variable] = fmt.Sprint(value.Interface())
	}
	return out
}

// argument is what follows the flag's name in the help.
func (f Field) argument() string {
	switch f.kind {
	case reflect.Bool:
		return ""
	case reflect.Int, reflect.Int64, reflect.Float64:
		return " N"
	default:
		return " TEXT"
	}
}

func (f Field) describe(environment bool) string {
	s := f.Doc
	if f.Default != "" {
		s += fmt.Sprintf(" (default %s)", f.Default)
	}
	if environment {
		s += fmt.Sprintf(" [%s]", f.Variable)
	}
	return s
}

// recorder is a flag.Value that notes what was given. Parsing the text is left
// to env, so that flags and variables follow the same rules.
type recorder struct {
	field Field
	given map[string]string
}

func (r *recorder) String() string   { return "" }
func (r *recorder) IsBoolFlag() bool { return r.field.kind == reflect.Bool }

func (r *recorder) Set(s string) error {
	r.given[r.field.Variable] = s
	return nil
}

// Load parses the command line of a verb and fills the settings of its command,
// flags before the environment. It reports every mistake at once.
func Load[P any](v *Verb[P], command Command[P], environ map[string]string, args []string) (*Call, error) {
	c, err := parse(v, command, args)
	if err != nil {
		return nil, err
	}
	if err := c.Fill(environ, command.Settings()); err != nil {
		return nil, err
	}
	if v, ok := command.(Validator); ok {
		if errs := v.Validate(); errs != nil {
			return nil, &UsageError{Errs: errs}
		}
	}
	return c, nil
}

// parse splits a command line into flags and arguments. Flags may stand before
// and after arguments; "--" ends them.
func parse[P any](v *Verb[P], command Command[P], args []string) (*Call, error) {
	c := &Call{Given: map[string]string{}}
	fs := flag.NewFlagSet(v.Name, flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.Usage = func() {}
	var names []string
	for _, s := range command.Settings() {
		if s.VariablesOnly {
			continue
		}
		for _, f := range s.Fields() {
			fs.Var(&recorder{f, c.Given}, f.Flag, f.Doc)
			names = append(names, "--"+f.Flag)
		}
	}
	if f, ok := command.(Flagger); ok {
		f.RegisterFlags(fs)
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
			c.Args = append(c.Args, rest...)
			break
		}
		c.Args = append(c.Args, rest[0])
		args = rest[1:]
	}
	if v.Args == "" && len(c.Args) > 0 && errs == nil { // not the value of an unknown flag
		errs = append(errs, fmt.Errorf("unexpected argument %q", c.Args[0]))
	}
	if errs != nil {
		return nil, &UsageError{Errs: errs}
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

// Fill fills settings from the environment and the flags that were given. The error
// is a UsageError with every mistake.
func (c *Call) Fill(environ map[string]string, all []Settings) error {
	var errs []error
	for _, s := range all {
		values := map[string]string{}
		if s.Environment {
			maps.Copy(values, environ)
		}
		maps.Copy(values, c.Given)
		err := env.ParseWithOptions(s.Target, env.Options{Environment: values})
		errs = append(errs, c.explain(s, err)...)
		if v, ok := s.Target.(Validator); ok && err == nil {
			for _, err := range v.Validate() {
				errs = append(errs, c.asGiven(s, err))
			}
		}
	}
	if errs != nil {
		return &UsageError{Errs: errs}
	}
	return nil
}

// asGiven makes an error that begins with the name of a variable begin with the
// flag, when that is what the user wrote.
func (c *Call) asGiven(s Settings, err error) error {
	name, rest, _ := strings.Cut(err.Error(), " ")
	for _, f := range s.Fields() {
		if _, given := c.Given[f.Variable]; given && f.Variable == name {
			return fmt.Errorf("--%s %s", f.Flag, rest)
		}
	}
	return err
}

// explain replaces struct fields in env's errors by what the user wrote.
func (c *Call) explain(s Settings, err error) []error {
	if err == nil {
		return nil
	}
	var all env.AggregateError
	if !errors.As(err, &all) {
		return []error{err}
	}
	t := reflect.TypeOf(s.Target).Elem()
	var out []error
	for _, e := range all.Errors {
		var pe env.ParseError
		if !errors.As(e, &pe) {
			out = append(out, e)
			continue
		}
		f, _ := t.FieldByName(pe.Name)
		variable, _, _ := strings.Cut(f.Tag.Get("env"), ",")
		name, value := variable, ""
		if i := slices.IndexFunc(s.Fields(), func(f Field) bool { return f.Variable == variable }); i >= 0 {
			if given, ok := c.Given[variable]; ok {
				name, value = "--"+s.Fields()[i].Flag, fmt.Sprintf(" %q", given)
			}
		}
		out = append(out, fmt.Errorf("%s%s: %w", name, value, pe.Err))
	}
	return out
}
