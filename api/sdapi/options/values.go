package options

import (
	"fmt"
	"maps"

	"sdworker/api/sdapi/pyjson"
)

// Values are the options in force for one job. They do not change when the
// store does.
type Values struct {
	set map[string]any // what differs from the table's defaults
	err *error         // the first value of a wrong type that was read
}

// TypeError reports an option whose value cannot be used as what it is for.
type TypeError struct {
	Key   string
	Value any
}

func (e *TypeError) Error() string {
	text, _ := pyjson.Marshal(e.Value, pyjson.Dumps)
	return fmt.Sprintf("option %s cannot be %s", e.Key, text)
}

// Defaults are the values of a fresh installation.
func Defaults() Values { return Values{err: new(error)} }

// With returns the values with overrides on top. Unknown keys give
// *UnknownKeyError, values of a wrong type schema.Errors.
func (v Values) With(overrides *pyjson.Object) (Values, error) {
	set, err := accept(overrides)
	if err != nil {
		return Values{}, err
	}
	out := Values{set: maps.Clone(v.set), err: new(error)}
	if out.set == nil {
		out.set = set
		return out, nil
	}
	maps.Copy(out.set, set)
	return out, nil
}

// Get returns the value of an option as GET /sdapi/v1/options shows it. It
// panics on a key that is not in the table.
func (v Values) Get(key string) any {
	if value, ok := v.set[key]; ok {
		return value
	}
	return fields[key].Default
}

// Err is the first TypeError that Float, Int, Bool or Text met.
func (v Values) Err() error { return *v.err }

func (v Values) wrong(key string) {
	if *v.err == nil {
		*v.err = &TypeError{key, v.Get(key)}
	}
}

// Float reads a number. A null is 0.
func (v Values) Float(key string) float64 {
	switch x := v.Get(key).(type) {
	case nil:
		return 0
	case float64:
		return x
	case int64:
		return float64(x)
	case bool:
		if x {
			return 1
		}
		return 0
	}
	v.wrong(key)
	return 0
}

// Int reads a whole number; a fraction is cut off. A null is 0.
func (v Values) Int(key string) int64 {
	f := v.Float(key)
	if !(f > -1<<62 && f < 1<<62) {
		v.wrong(key)
		return 0
	}
	return int64(f)
}

// Bool reads a value as Python's truth does.
func (v Values) Bool(key string) bool {
	switch x := v.Get(key).(type) {
	case nil:
		return false
	case bool:
		return x
	case string:
		return x != ""
	case []any:
		return len(x) > 0
	case *pyjson.Object:
		return x.Len() > 0
	case float64:
		return x != 0
	case int64:
		return x != 0
	}
	return true
}

// Text reads a string. A null is "".
func (v Values) Text(key string) string {
	switch x := v.Get(key).(type) {
	case nil:
		return ""
	case string:
		return x
	}
	v.wrong(key)
	return ""
}

// Texts reads a list of strings; other elements are left out.
func (v Values) Texts(key string) []string {
	list, _ := v.Get(key).([]any)
	var out []string
	for _, x := range list {
		if s, ok := x.(string); ok {
			out = append(out, s)
		}
	}
	return out
}
