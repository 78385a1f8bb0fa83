package openai

import (
	_ "embed"

	v1 "sdworker/api/v1"
)

//go:embed openapi.json
var description string

// Paths describes the routes of the package as the paths of an OpenAPI 3.0
// document.
func Paths() map[string]any {
	pictures := pictures{
		Created: 1767323045, Data: []image{{Base64: "iVBORw0KGgo..."}}, Format: "png", Background: "opaque",
		facts: facts{Size: "512x512", Quality: "auto", Usage: usage{Total: 9, Input: 9, Detail: usageDetail{Text: 9}}},
	}
	first := model{ID: "v1-5-pruned-emaonly", Object: "model", Created: 1713700000, OwnedBy: "local"}
	problem := errorBody{Error: invalid("size", "", "size must be WIDTHxHEIGHT")}
	reply := func(v any) v1.Reply { return v1.Reply{Schema: v1.Schema(v), Example: v} }
	return v1.Paths(description, map[string]v1.Reply{
		"images": reply(pictures), "models": reply(modelList{Object: "list", Data: []model{first}}), "model": reply(first), "error": reply(problem),
	})
}
