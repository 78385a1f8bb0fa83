package openai

import (
	_ "embed"

	v1 "sdworker/api/v1"
)

//go:embed openapi.json
var description string

// Paths describes the routes of the package as the paths of an OpenAPI 3.0
// document.
func Paths() map[string]any { return v1.Paths(description) }
