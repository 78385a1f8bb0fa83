package sdapi

import (
	_ "embed"
	"maps"
	"net/http"
	"slices"
	"strings"

	"sdworker/api/sdapi/pyjson"
	"sdworker/api/sdapi/schema"
)

//go:embed docs.html
var docsPage string

// openAPI handles GET /openapi.json. The document is made from the tables that
// serve the routes, and Config.OtherPaths.
func (s *Server) openAPI(w http.ResponseWriter, r *http.Request) error {
	paths, schemas := pyjson.NewObject(), pyjson.NewObject()
	for i := range s.routes {
		rt := &s.routes[i]
		if rt.hidden {
			continue
		}
		item, ok := paths.Get(rt.path)
		if !ok {
			item = pyjson.NewObject()
			paths.Set(rt.path, item)
		}
		item.(*pyjson.Object).Set(strings.ToLower(rt.method), rt.operation(schemas))
	}
	for _, path := range slices.Sorted(maps.Keys(s.cfg.OtherPaths)) {
		paths.Set(path, s.cfg.OtherPaths[path])
	}
	schemas.Set("HTTPValidationError", validationSchema)
	schemas.Set("Error", errorSchema)
	s.writeJSON(w, r, http.StatusOK, pyjson.NewObject(
		"openapi", "3.0.2",
		"info", pyjson.NewObject("title", "FastAPI", "version", s.cfg.Version),
		"paths", paths,
		"components", pyjson.NewObject("schemas", schemas),
	))
	return nil
}

// operation describes one route and adds the models it takes to schemas.
func (rt *route) operation(schemas *pyjson.Object) *pyjson.Object {
	id := strings.Trim(strings.NewReplacer("/", "_", "-", "_").Replace(rt.path), "_") + "_" + strings.ToLower(rt.method)
	op := pyjson.NewObject("summary", rt.summary, "operationId", id)
	var parameters []any
	for _, q := range rt.query {
		parameters = append(parameters, pyjson.NewObject("name", q.Name, "in", "query", "required", q.Required, "schema", fieldSchema(&q, schemas)))
	}
	if parameters != nil {
		op.Set("parameters", parameters)
	}
	if rt.body != nil {
		media := pyjson.NewObject("schema", modelRef(rt.body, schemas))
		if example, ok := requestExamples.Get(rt.method + " " + rt.path); ok {
			media.Set("example", example)
		}
		op.Set("requestBody", pyjson.NewObject("content", pyjson.NewObject("application/json", media), "required", true))
	}
	media := pyjson.NewObject("schema", empty)
	if shape, ok := replyShapes.Get(rt.method + " " + rt.path); ok {
		media = shape.(*pyjson.Object)
	}
	responses := pyjson.NewObject("200", pyjson.NewObject("description", "Successful Response", "content", pyjson.NewObject("application/json", media)))
	if rt.also != "" {
		responses.Set(rt.also, pyjson.NewObject("description", "Not yet", "content", pyjson.NewObject("application/json", media)))
	}
	if rt.body != nil || rt.query != nil {
		wrong := pyjson.NewObject("anyOf", []any{ref("HTTPValidationError"), ref("Error")})
		responses.Set("422", pyjson.NewObject("description", "Validation Error", "content", content(wrong)))
	}
	responses.Set("default", pyjson.NewObject("description", "An error", "content", content(ref("Error"))))
	op.Set("responses", responses)
	return op
}

func content(schema *pyjson.Object) *pyjson.Object {
	return pyjson.NewObject("application/json", pyjson.NewObject("schema", schema))
}

func ref(name string) *pyjson.Object { return pyjson.NewObject("$ref", "#/components/schemas/"+name) }

// modelRef adds a model to schemas and refers to it.
func modelRef(m *schema.Model, schemas *pyjson.Object) *pyjson.Object {
	if _, known := schemas.Get(m.Name); known {
		return ref(m.Name)
	}
	properties := pyjson.NewObject()
	object := pyjson.NewObject("title", m.Name, "type", "object", "properties", properties)
	schemas.Set(m.Name, object)
	var required []any
	for i := range m.Fields {
		f := &m.Fields[i]
		properties.Set(f.Name, fieldSchema(f, schemas))
		if f.Required {
			required = append(required, f.Name)
		}
	}
	if required != nil {
		object.Set("required", required)
	}
	return ref(m.Name)
}

var kindNames = map[schema.Kind]string{
	schema.Integer: "integer", schema.Number: "number", schema.String: "string", schema.Boolean: "boolean",
	schema.Array: "array", schema.Strings: "array", schema.Models: "array", schema.Dict: "object",
}

func fieldSchema(f *schema.Field, schemas *pyjson.Object) *pyjson.Object {
	o := pyjson.NewObject("title", title(f.Name))
	if f.Permitted != nil {
		o.Set("enum", f.Permitted)
	}
	if name := kindNames[f.Kind]; name != "" {
		o.Set("type", name)
	}
	switch f.Kind {
	case schema.Array:
		o.Set("items", empty)
	case schema.Strings:
		o.Set("items", pyjson.NewObject("type", "string"))
	case schema.Models:
		o.Set("items", modelRef(f.Item, schemas))
	default:
	}
	for _, bound := range []struct {
		key   string
		limit any
	}{{"minimum", f.GE}, {"maximum", f.LE}, {"exclusiveMinimum", f.GT}} {
		if bound.limit == nil {
			continue
		}
		if bound.key == "exclusiveMinimum" { // a boolean in OpenAPI 3.0
			o.Set("minimum", bound.limit)
			o.Set("exclusiveMinimum", true)
			continue
		}
		o.Set(bound.key, bound.limit)
	}
	if f.Nullable {
		o.Set("nullable", true)
	}
	if !f.Required && f.Default != nil {
		o.Set("default", f.Default)
	}
	return o
}

// title is FastAPI's heading for a field.
func title(name string) string {
	words := strings.Fields(strings.ReplaceAll(name, "_", " "))
	for i, w := range words {
		words[i] = strings.ToUpper(w[:1]) + w[1:]
	}
	return strings.Join(words, " ")
}

// validationSchema is the shape of a 422 reply.
var validationSchema = pyjson.NewObject("title", "HTTPValidationError", "type", "object", "properties", pyjson.NewObject(
	"detail", pyjson.NewObject("title", "Detail", "type", "array", "items", pyjson.NewObject(
		"type", "object", "required", []any{"loc", "msg", "type"}, "properties", pyjson.NewObject(
			"loc", pyjson.NewObject("type", "array", "items", pyjson.NewObject("anyOf", []any{pyjson.NewObject("type", "string"), pyjson.NewObject("type", "integer")})),
			"msg", pyjson.NewObject("type", "string"),
			"type", pyjson.NewObject("type", "string"),
		)))))

// replies has for each route a schema of its replies and an example, which TestReplies
// takes from real ones.
//
//go:embed replies.json
var replies []byte

// requests has an example of a request for each route that takes one. TestReplies sends
// them.
//
//go:embed requests.json
var requests []byte

// replyShapes and requestExamples are those of the files, by method and path.
var replyShapes, requestExamples = byRoute(replies), byRoute(requests)

func byRoute(file []byte) *pyjson.Object {
	v, err := pyjson.Decode(file)
	if err != nil {
		panic(err) // a mistake in the program
	}
	return v.(*pyjson.Object)
}

// errorSchema is the shape of all errors but those of validation, which have a list as
// detail.
var errorSchema = pyjson.NewObject("title", "Error", "type", "object", "required", []any{"detail"}, "properties", pyjson.NewObject(
	"error", pyjson.NewObject("type", "string", "description", "class of the exception that A1111 ends with"),
	"detail", pyjson.NewObject("type", "string", "description", "what is wrong, of an HTTPException"),
	"body", pyjson.NewObject("type", "string"),
	"errors", pyjson.NewObject("type", "string", "description", "what is wrong, of any other exception"),
))
