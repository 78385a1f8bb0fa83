package runpod

import (
	"fmt"
	"reflect"
	"strings"
)

// ConfigTable returns a Markdown table of the environment variables that the
// given configuration structs read, from their env, envDefault and doc tags.
func ConfigTable(configs ...any) string {
	var b strings.Builder
	b.WriteString("| Variable | Default | Meaning |\n|---|---|---|\n")
	for _, c := range configs {
		tableRows(&b, reflect.TypeOf(c))
	}
	return b.String()
}

func tableRows(b *strings.Builder, t reflect.Type) {
	for f := range t.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("env"), ",")
		switch {
		case name != "":
			def := f.Tag.Get("envDefault")
			if def != "" {
				def = "`" + def + "`"
			}
			fmt.Fprintf(b, "| `%s` | %s | %s |\n", name, def, strings.ReplaceAll(f.Tag.Get("doc"), "|", `\|`))
		case f.Type.Kind() == reflect.Struct && f.IsExported():
			tableRows(b, f.Type)
		}
	}
}
