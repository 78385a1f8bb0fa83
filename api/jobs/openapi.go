package jobs

import (
	_ "embed"
	"encoding/json"
)

//go:embed openapi.json
var description []byte

// Paths describes the routes of the package as the paths of an OpenAPI 3.0
// document.
func Paths() map[string]any {
	var paths map[string]any
	if err := json.Unmarshal(description, &paths); err != nil {
		panic(err) // the file is embedded
	}
	return paths
}
