package bridge

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
)

// sentence turns an error body of the A1111 API into one line that names the
// field at fault. The body has one of three shapes: FastAPI's validation errors,
// FastAPI's plain detail, and A1111's own {error, detail, body, errors}.
func sentence(status int, body []byte, c call) string {
	var reply struct {
		Error  string          `json:"error"`
		Detail json.RawMessage `json:"detail"`
		Errors string          `json:"errors"`
	}
	if err := json.Unmarshal(body, &reply); err != nil {
		return fmt.Sprintf("%s answered HTTP %d: %s", c.endpoint, status, short(string(body)))
	}
	var faults []struct {
		Loc []any  `json:"loc"`
		Msg string `json:"msg"`
	}
	if json.Unmarshal(reply.Detail, &faults) == nil && len(faults) > 0 {
		parts := make([]string, len(faults))
		for i, f := range faults {
			parts[i] = location(f.Loc, c) + ": " + f.Msg
		}
		return strings.Join(parts, "; ")
	}
	var detail string
	_ = json.Unmarshal(reply.Detail, &detail) // absent or of another type: no text
	switch {
	case reply.Error == "" && status == http.StatusNotFound:
		return unknownEndpoint(c.endpoint).Error()
	case reply.Error == "" && status == http.StatusMethodNotAllowed:
		return fmt.Sprintf("api.method: %s is not allowed for /%s", c.method, c.endpoint)
	case detail != "":
		return withField(detail, c)
	case reply.Errors != "":
		text := withField(reply.Errors, c)
		if text == reply.Errors && reply.Error != "" && reply.Error != "Exception" {
			text = reply.Error + ": " + text
		}
		return text
	case reply.Error != "":
		return reply.Error
	default:
		return fmt.Sprintf("%s answered HTTP %d", c.endpoint, status)
	}
}

// location names a field by pydantic's path, without the leading "body".
func location(loc []any, c call) string {
	var parts []string
	for i, l := range loc {
		if i == 0 && (l == "body" || l == "query") {
			continue
		}
		parts = append(parts, fmt.Sprint(l))
	}
	if len(parts) == 0 {
		if c.structured {
			return "payload"
		}
		return "input"
	}
	return strings.Join(parts, ".")
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

// short cuts a text that was not meant for people.
func short(s string) string {
	if r := []rune(s); len(r) > 200 {
		return string(r[:200]) + "…"
	}
	return s
}
