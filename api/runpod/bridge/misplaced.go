package bridge

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// A1111 ignores fields that it does not know and takes a missing prompt for an
// empty one. An input whose parts are in the wrong place would be paid for and
// paint something else. These checks refuse such inputs.

const structuredHelp = `write {"api": {"method": "POST", "endpoint": "/sdapi/v1/txt2img"}, "payload": {...}}`

// needsPayload are the routes that accept an empty body but make nothing of use
// from it. All others need none, or report it themselves.
var needsPayload = map[string]bool{txt2img: true, img2img: true}

// checkWrapper refuses an input that is half of the form {api, payload}.
func checkWrapper(in object) error {
	var parts []string
	for _, name := range []string{"endpoint", "payload"} {
		if in.has(name) {
			parts = append(parts, name)
		}
	}
	switch {
	case in.has("api") || len(parts) == 0:
		return nil
	case len(parts) == 1 && parts[0] == "payload":
		return fmt.Errorf("the input has a payload and no api, which names its route; %s, or give the fields of the payload alone", structuredHelp)
	}
	return fmt.Errorf("the input has %s outside of api; %s", strings.Join(parts, " and "), structuredHelp)
}

// checkPayload refuses a call without the payload that its route needs.
func checkPayload(endpoint string, in, payload object) error {
	if !needsPayload[endpoint] || len(payload) > 0 {
		return nil
	}
	var beside []string
	for _, name := range slices.Sorted(maps.Keys(in)) {
		if name != "api" && name != "payload" {
			beside = append(beside, name)
		}
	}
	if len(beside) > 0 {
		return fmt.Errorf("payload is missing; %s beside api must be inside payload", list(beside))
	}
	return fmt.Errorf("payload is missing; give the fields of /%s in it", endpoint)
}

// purposes are the fields that say what to paint.
var purposes = []string{"prompt", "infotext", "styles", "init_images", "alwayson_scripts"}

// inputFields are the fields of a flat input that are not A1111's.
var inputFields = []string{"mode", "num_inference_steps", "guidance_scale"}

// checkPurpose refuses a generation request that does not say what to paint, but
// has fields that nobody reads, which may.
func (b *bridge) checkPurpose(endpoint string, in object) error {
	if endpoint != txt2img && endpoint != img2img || b.Fields == nil {
		return nil
	}
	known := slices.Concat(b.Fields(strings.TrimPrefix(endpoint, "sdapi/v1/")), inputFields)
	var unknown []string
	for _, name := range slices.Sorted(maps.Keys(in)) {
		if !slices.Contains(known, name) {
			unknown = append(unknown, name)
		}
	}
	if in.has("prompt") || len(unknown) == 0 {
		return nil
	}
	for _, name := range unknown {
		var inner object
		if json.Unmarshal(in[name], &inner) == nil && inner.has("prompt") {
			return fmt.Errorf("prompt is inside %s, where it is not read; %s", name, inputHelp)
		}
	}
	if slices.ContainsFunc(purposes, in.has) {
		return nil
	}
	return fmt.Errorf("prompt is missing, and %s is no field of /%s; %s", list(unknown), endpoint, inputHelp)
}

// list names fields in a sentence, the first few of many.
func list(names []string) string {
	const most = 5
	if len(names) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return strings.Join(names, ", ")
}
