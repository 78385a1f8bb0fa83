package bridge

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// call is one request to the API, read from a job's input.
type call struct {
	method     string
	endpoint   string // without the leading slash
	query      string
	payload    json.RawMessage
	structured bool // the input had the form {api, payload}
}

type object map[string]json.RawMessage

// has tells whether key is there with a value other than null.
func (o object) has(key string) bool {
	v := bytes.TrimSpace(o[key])
	return len(v) > 0 && !bytes.Equal(v, []byte("null"))
}

// text returns the string at key, if it is one.
func (o object) text(key string) (string, bool) {
	var s string
	if !o.has(key) || json.Unmarshal(o[key], &s) != nil {
		return "", false
	}
	return s, true
}

const inputHelp = `give the fields of a txt2img or img2img request, such as {"prompt": "a red fox"}, or {"api": {"method": "POST", "endpoint": "/sdapi/v1/txt2img"}, "payload": {...}}`

// maxWraps bounds how many times an input may be wrapped in another one.
const maxWraps = 3

// parse reads a job's input.
func (b *bridge) parse(input json.RawMessage) (call, error) {
	var in object
	for range maxWraps {
		in = nil
		if err := json.Unmarshal(input, &in); err != nil || in == nil {
			return call{}, errors.New("input must be an object; " + inputHelp)
		}
		// Some clients and RunPod's Hub tests wrap twice: {"input": {"input": …}}.
		var inner object
		if in.has("api") || in.has("prompt") || in.has("endpoint") || in.has("mode") || json.Unmarshal(in["input"], &inner) != nil || inner == nil {
			break
		}
		input = in["input"]
	}
	if len(in) == 0 {
		return call{}, errors.New("input is empty; " + inputHelp)
	}
	if err := checkWrapper(in); err != nil {
		return call{}, err
	}
	if _, ok := in["api"]; ok {
		return b.parseStructured(in)
	}
	return b.parseFlat(in, input)
}

// parseStructured reads {"api": {"method", "endpoint"}, "payload"}.
func (b *bridge) parseStructured(in object) (call, error) {
	var api object
	if json.Unmarshal(in["api"], &api) != nil || api == nil {
		return call{}, errors.New(`api must be an object with method and endpoint, such as {"method": "POST", "endpoint": "/sdapi/v1/txt2img"}`)
	}
	c := call{structured: true}
	method, ok := api.text("method")
	if !ok {
		return c, errors.New("api.method is missing; give GET or POST")
	}
	if c.method = strings.ToUpper(strings.TrimSpace(method)); c.method != http.MethodGet && c.method != http.MethodPost {
		return c, fmt.Errorf("api.method is %q; it must be GET or POST", method)
	}
	endpoint, ok := api.text("endpoint")
	if !ok || strings.TrimSpace(endpoint) == "" {
		return c, errors.New("api.endpoint is missing; give a route such as /sdapi/v1/txt2img")
	}
	c.endpoint, c.query, _ = strings.Cut(strings.Trim(strings.TrimSpace(endpoint), "/"), "?")
	c.endpoint = strings.TrimSuffix(c.endpoint, "/")
	if !allowedEndpoint(c.endpoint) {
		return c, unknownEndpoint(c.endpoint)
	}

	if api.has("payload") && !in.has("payload") {
		return c, errors.New("payload is inside api, where it is not read; " + structuredHelp)
	}
	payload := object{}
	if in.has("payload") {
		if json.Unmarshal(in["payload"], &payload) != nil {
			return c, errors.New("payload must be an object, not a text or a list; " + structuredHelp)
		}
	}
	if c.method == http.MethodGet {
		q, err := url.ParseQuery(c.query)
		if err != nil {
			return c, fmt.Errorf("api.endpoint has an invalid query: %w", err)
		}
		for key, value := range payload {
			if s, ok := payload.text(key); ok {
				q.Set(key, s)
			} else {
				q.Set(key, string(value))
			}
		}
		c.query = q.Encode()
		return c, nil
	}
	if err := checkPayload(c.endpoint, in, payload); err != nil {
		return c, err
	}
	if err := b.checkPurpose(c.endpoint, payload); err != nil {
		return c, err
	}
	if c.endpoint != txt2img && c.endpoint != img2img || !b.splitSamplers(payload) {
		if c.payload = in["payload"]; !in.has("payload") {
			c.payload = json.RawMessage("{}")
		}
		return c, nil
	}
	return c, c.encode(payload)
}

// The two routes of a flat input.
const (
	txt2img = "sdapi/v1/txt2img"
	img2img = "sdapi/v1/img2img"
)

// aliases are the diffusers names that the examples of RunPod's own worker use.
var aliases = map[string]string{
	"num_inference_steps": "steps",
	"guidance_scale":      "cfg_scale",
}

// parseFlat reads the bare fields of a txt2img or img2img request. text is the
// same as in; it is passed on as it is unless a field has to be changed, since
// encoding megabytes of images again takes its time.
func (b *bridge) parseFlat(in object, text json.RawMessage) (call, error) {
	c := call{method: http.MethodPost, endpoint: txt2img}
	if in.has("init_images") && !emptyList(in["init_images"]) {
		c.endpoint = img2img
	}
	changed := false
	if in.has("mode") {
		mode, _ := in.text("mode")
		switch strings.ToLower(mode) {
		case "txt2img":
			c.endpoint = txt2img
		case "img2img":
			c.endpoint = img2img
		default:
			return c, fmt.Errorf("mode is %s; it must be txt2img or img2img", in["mode"])
		}
	}
	if err := b.checkPurpose(c.endpoint, in); err != nil {
		return c, err
	}
	for alias, field := range aliases {
		if in.has(alias) && !in.has(field) {
			in[field] = in[alias]
			changed = true
		}
	}
	if b.splitSamplers(in) || changed {
		return c, c.encode(in)
	}
	c.payload = text
	return c, nil
}

// emptyList tells whether raw, which is valid JSON, is a list without items.
func emptyList(raw json.RawMessage) bool {
	raw = bytes.TrimSpace(raw)
	return raw[0] == '[' && bytes.TrimSpace(raw[1:])[0] == ']'
}

// samplerFields pairs sampler fields with the scheduler that goes with them.
var samplerFields = []struct{ sampler, scheduler string }{
	{"sampler_name", "scheduler"},
	{"sampler_index", "scheduler"},
	{"hr_sampler_name", "hr_scheduler"},
}

// splitSamplers replaces combined names such as "DPM++ 2M Karras" and tells
// whether there was one. A scheduler that the request names is kept.
func (b *bridge) splitSamplers(in object) (changed bool) {
	if b.SplitSampler == nil {
		return false
	}
	for _, f := range samplerFields {
		name, ok := in.text(f.sampler)
		if !ok {
			continue
		}
		sampler, scheduler, ok := b.SplitSampler(name)
		if !ok || sampler == name || sampler == "" || !strings.HasPrefix(name, sampler) {
			continue
		}
		in[f.sampler], _ = json.Marshal(sampler) // a string always encodes
		if given, ok := in.text(f.scheduler); !ok || given == "" || strings.EqualFold(given, "automatic") {
			in[f.scheduler], _ = json.Marshal(scheduler)
		}
		changed = true
	}
	return changed
}

// encode sets the payload.
func (c *call) encode(in object) error {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(in); err != nil {
		return err
	}
	c.payload = bytes.TrimSpace(buf.Bytes())
	return nil
}

func unknownEndpoint(endpoint string) error {
	return fmt.Errorf("api.endpoint: there is no route %q; routes look like /sdapi/v1/txt2img", "/"+endpoint)
}
