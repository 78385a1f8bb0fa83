package v1

import (
	"encoding/json"
	"math"
	"reflect"
	"strings"
	"time"
)

// Schema describes, as an OpenAPI 3.0 schema, what encoding/json makes of a value's type.
// Pointers may be null; fields that may be left out are not required. Types that encode
// themselves may be anything, but for times.
func Schema(v any) map[string]any { return schemaOf(reflect.TypeOf(v)) }

var (
	timeType      = reflect.TypeFor[time.Time]()
	marshalerType = reflect.TypeFor[json.Marshaler]()
)

func schemaOf(t reflect.Type) map[string]any {
	switch {
	case t == nil || t.Kind() == reflect.Interface:
		return map[string]any{"nullable": true}
	case t.Kind() == reflect.Pointer:
		s := schemaOf(t.Elem())
		s["nullable"] = true
		return s
	case t == timeType:
		return map[string]any{"type": "string", "format": "date-time"}
	case t.Implements(marshalerType):
		return map[string]any{}
	}
	switch t.Kind() {
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.String:
		return map[string]any{"type": "string"}
	case reflect.Float32, reflect.Float64:
		return map[string]any{"type": "number"}
	case reflect.Slice, reflect.Array:
		return map[string]any{"type": "array", "items": schemaOf(t.Elem())}
	case reflect.Map:
		return map[string]any{"type": "object", "additionalProperties": schemaOf(t.Elem())}
	case reflect.Struct:
		s := map[string]any{"type": "object", "properties": map[string]any{}}
		addFields(s, t)
		return s
	default:
		return map[string]any{"type": "integer"}
	}
}

// addFields adds those of a struct, and of what it embeds.
func addFields(s map[string]any, t reflect.Type) {
	for f := range t.Fields() {
		tag, tagged := f.Tag.Lookup("json")
		if f.Anonymous && !tagged {
			addFields(s, f.Type)
			continue
		}
		name, options, _ := strings.Cut(tag, ",")
		if name == "-" || !f.IsExported() {
			continue
		}
		if name == "" {
			name = f.Name
		}
		s["properties"].(map[string]any)[name] = schemaOf(f.Type)
		if !strings.Contains(options, "omitempty") {
			required, _ := s["required"].([]any)
			s["required"] = append(required, name)
		}
	}
}

// addReplies puts schemas and examples of replies into operations: where a response says
// "reply": NAME it gets those of that name.
func addReplies(v any, replies map[string]Reply) {
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			addReplies(e, replies)
		}
	case map[string]any:
		if name, ok := v["reply"].(string); ok {
			reply, known := replies[name]
			if !known {
				panic("no reply " + name) // a mistake in the program
			}
			delete(v, "reply")
			media := map[string]any{"schema": reply.Schema}
			if reply.Example != nil {
				media["example"] = plain(reply.Example)
			}
			content, _ := v["content"].(map[string]any) // other kinds of the same reply
			if content == nil {
				content = map[string]any{}
				v["content"] = content
			}
			content["application/json"] = media
		}
		for _, e := range v {
			addReplies(e, replies)
		}
	}
}

// wholeNumbers has integers for the whole numbers in a value that JSON was decoded into:
// writers of JSON that know both would write 1.0.
func wholeNumbers(v any) any {
	switch v := v.(type) {
	case float64:
		if v == math.Trunc(v) && math.Abs(v) < 1<<53 {
			return int64(v)
		}
	case []any:
		for i := range v {
			v[i] = wholeNumbers(v[i])
		}
	case map[string]any:
		for key := range v {
			v[key] = wholeNumbers(v[key])
		}
	}
	return v
}

// plain is what JSON makes of a value.
func plain(v any) (out any) {
	text, err := json.Marshal(v)
	if err == nil {
		err = json.Unmarshal(text, &out)
	}
	if err != nil {
		panic(err) // a mistake in the program
	}
	return out
}

// Reply is what a description says of replies of one kind.
type Reply struct {
	Schema  map[string]any
	Example any // nil for none
}
