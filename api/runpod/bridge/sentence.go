package bridge

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"sdworker/api/a1111"
)

// sentence turns an error of the A1111 API into one line that names the field at
// fault.
func sentence(f *a1111.Fault, c call) string {
	if f.Fields != nil {
		parts := make([]string, len(f.Fields))
		for i, field := range f.Fields {
			parts[i] = location(field.Path, c) + ": " + field.Message
		}
		return strings.Join(parts, "; ")
	}
	text := withField(f.Message, c)
	switch {
	case !json.Valid(f.Body):
		return fmt.Sprintf("%s answered HTTP %d: %s", c.endpoint, f.Status, short(string(bytes.TrimSpace(f.Body))))
	case f.Class == "" && f.Status == http.StatusNotFound:
		return unknownEndpoint(c.endpoint).Error()
	case f.Class == "" && f.Status == http.StatusMethodNotAllowed:
		return fmt.Sprintf("api.method: %s is not allowed for /%s", c.method, c.endpoint)
	case f.Message == "" && f.Class != "":
		return f.Class
	case f.Message == "":
		return fmt.Sprintf("%s answered HTTP %d", c.endpoint, f.Status)
	case text == f.Message && f.Class != "" && f.Class != a1111.HTTPException && f.Class != "Exception":
		return f.Class + ": " + text
	}
	return text
}

// location names a field by its path.
func location(path []string, c call) string {
	switch {
	case len(path) > 0:
		return strings.Join(path, ".")
	case c.structured:
		return "payload"
	}
	return "input"
}

// withField puts the field in front of the texts of A1111 that do not name it.
func withField(text string, c call) string {
	var payload object
	_ = json.Unmarshal(c.payload, &payload) // nil when there is none
	field := ""
	switch {
	case text == "Sampler not found":
		field = "sampler_name"
		if !payload.has(field) {
			field = "sampler_index"
		}
		if name, ok := payload.text(field); ok {
			text = fmt.Sprintf("%s %q; GET /sdapi/v1/samplers lists the names", text, name)
		}
	case text == "Init image not found":
		field = "init_images"
	case text == "Invalid encoded image":
		field = "image"
		if c.endpoint == img2img {
			field = "init_images"
		}
	case strings.HasPrefix(text, "Script '"):
		field = "alwayson_scripts"
		if name, ok := payload.text("script_name"); ok && strings.Contains(text, "'"+name+"'") {
			field = "script_name"
		}
	case strings.HasPrefix(text, "bad sampler name: "):
		field = "hr_sampler_name"
	case strings.HasPrefix(text, "could not find upscaler named "):
		field = "hr_upscaler"
		if !payload.has(field) {
			field = "upscaler_1"
		}
	case len(text) > 2 && text[0] == '\'' && text[len(text)-1] == '\'' && payload.has("override_settings"):
		field, text = "override_settings", "there is no option "+text
	}
	if field == "" {
		return text
	}
	return field + ": " + text
}

// short shortens a text that was not written for people.
func short(s string) string {
	if r := []rune(s); len(r) > 200 {
		return string(r[:200]) + "…"
	}
	return s
}
