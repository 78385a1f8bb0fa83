package scripts

import (
	"slices"
	"strings"

	"sdworker/api/sdapi/exception"
	"sdworker/api/sdapi/generation"
	"sdworker/api/sdapi/schema"
)

// argReader reads arguments of the selected script until one is wrong.
type argReader struct {
	call *generation.Call
	err  error
}

func (r *argReader) value(i int, kind schema.Kind) any {
	def := r.call.Script.Args[i].Value
	if r.err != nil {
		return def
	}
	v, err := r.call.ScriptArg(i, kind, def)
	if r.err = err; err != nil {
		return def
	}
	return v
}

func (r *argReader) whole(i int) int {
	n, _ := r.value(i, schema.Integer).(int64)
	return int(n)
}

func (r *argReader) number(i int) float64 { return generation.FloatOf(r.value(i, schema.Number)) }

func (r *argReader) flag(i int) bool { return r.value(i, schema.Boolean) == true }

func (r *argReader) text(i int) string {
	s, _ := r.value(i, schema.String).(string)
	return s
}

// margin is the width of the space between the pictures of a grid, in pixels.
func (r *argReader) margin(i int) int { return min(max(r.whole(i), 0), 500) }

// choice reads an argument that A1111's page sends as the number of a choice; the text of
// the choice is accepted, too.
func (r *argReader) choice(i int, names []string) int {
	args := r.call.ScriptArgs
	if i >= len(args) || args[i] == nil || r.err != nil {
		return 0
	}
	at := slices.IndexFunc(names, func(name string) bool {
		text, ok := args[i].(string)
		return ok && strings.EqualFold(name, r.call.Service.ListedUpscaler(text))
	})
	if n, ok := args[i].(int64); ok && n >= 0 && n < int64(len(names)) {
		at = int(n)
	}
	if at < 0 {
		r.err = exception.Crash("ValueError", "argument %d of %s is none of %s, nor the number of one", i, r.call.Script.Name, strings.Join(names, ", "))
		return 0
	}
	return at
}
