// Package options holds the settings of the A1111 web UI: the table of all of
// them with their defaults, the store that keeps them in config.json, and the
// values in force for one job.
package options

import (
	_ "embed"
	"fmt"
	"math"

	"sdworker/api/sdapi/pyjson"
	"sdworker/api/sdapi/schema"
	"sdworker/inference/sampler"
)

//go:embed defaults.json
var defaultsJSON []byte

// Table is the model of GET /sdapi/v1/options, in its order. As in A1111 a
// default that Python holds for true gives its type to the option, and any other
// (null, 0, false, an empty text or list) leaves the type open.
var Table = table()

func table() *schema.Model {
	v, err := pyjson.Decode(defaultsJSON)
	if err != nil {
		panic(fmt.Sprintf("options: defaults.json: %v", err))
	}
	m := &schema.Model{Name: "Options"}
	for key, def := range v.(*pyjson.Object).All() {
		m.Fields = append(m.Fields, schema.Field{Name: key, Kind: kindOf(def), Default: def, Nullable: true})
	}
	return m
}

func kindOf(def any) schema.Kind {
	switch def := def.(type) {
	case string:
		if def != "" {
			return schema.String
		}
	case float64:
		if def != 0 {
			return schema.Number
		}
	case bool:
		if def {
			return schema.Boolean
		}
	case []any:
		if len(def) > 0 {
			return schema.Array
		}
	}
	return schema.Any
}

// builtin are options of A1111's built-in extensions, of ADetailer, of Dynamic Prompts and
// our own, which can be set but are not in the table.
var builtin = []schema.Field{
	{Name: "ad_max_models", Kind: schema.Integer, Default: int64(4), Nullable: true},
	{Name: "ad_extra_models_dir", Kind: schema.String, Default: "", Nullable: true},
	{Name: "ad_save_images_dir", Kind: schema.String, Default: "", Nullable: true},
	{Name: "ad_save_previews", Kind: schema.Boolean, Default: false, Nullable: true},
	{Name: "ad_save_images_before", Kind: schema.Boolean, Default: false, Nullable: true},
	{Name: "ad_only_selected_scripts", Kind: schema.Boolean, Default: true, Nullable: true},
	{Name: "ad_script_names", Kind: schema.String, Default: "dynamic_prompting,dynamic_thresholding,lora_block_weight,negpip,wildcard_recursive,wildcards", Nullable: true},
	{Name: "ad_bbox_sortby", Kind: schema.String, Default: "None", Nullable: true},
	{Name: "ad_same_seed_for_each_tab", Kind: schema.Boolean, Default: false, Nullable: true},
	{Name: "ad_dynamic_denoise_power", Kind: schema.Number, Default: 0.0, Nullable: true},
	{Name: "ad_match_inpaint_bbox_size", Kind: schema.String, Default: "Off", Nullable: true},
	{Name: "dynamic_prompts", Kind: schema.Boolean, Default: false, Nullable: true},
	{Name: "dp_ignore_whitespace", Kind: schema.Boolean, Default: false, Nullable: true},
	{Name: "dp_write_raw_template", Kind: schema.Boolean, Default: false, Nullable: true},
	{Name: "dp_parser_variant_start", Kind: schema.String, Default: "{", Nullable: true},
	{Name: "dp_parser_variant_end", Kind: schema.String, Default: "}", Nullable: true},
	{Name: "dp_parser_wildcard_wrap", Kind: schema.String, Default: "__", Nullable: true},
	{Name: "dp_wildcard_manager_no_dedupe", Kind: schema.Boolean, Default: false, Nullable: true},
	{Name: "dp_wildcard_manager_no_sort", Kind: schema.Boolean, Default: false, Nullable: true},
	{Name: "dp_wildcard_manager_shuffle", Kind: schema.Boolean, Default: false, Nullable: true},
	{Name: "eta_tcd", Kind: schema.Number, Default: sampler.DefaultOptions().EtaTCD, Nullable: true},
	{Name: "cfg_rescale", Kind: schema.Number, Default: 0.0, Nullable: true},
	{Name: "step_cache", Kind: schema.Number, Default: sampler.DefaultOptions().StepCache, Nullable: true},
	{Name: "enable_prompt_comments", Kind: schema.Boolean, Default: true, Nullable: true},
	{Name: "lora_add_hashes_to_infotext", Kind: schema.Boolean, Default: true, Nullable: true},
	{Name: "lora_preferred_name", Kind: schema.String, Default: "Alias from file", Nullable: true},
	{Name: "sd_lora", Kind: schema.String, Default: "None", Nullable: true},
}

// fields finds an option by its key.
var fields = func() map[string]*schema.Field {
	m := make(map[string]*schema.Field, len(Table.Fields)+len(builtin))
	for _, list := range [][]schema.Field{Table.Fields, builtin} {
		for i := range list {
			m[list[i].Name] = &list[i]
		}
	}
	return m
}()

// fixed are the keys that a client may send and that nevertheless stay: two
// texts of the settings page, the hash of the loaded checkpoint, and what A1111
// keeps out of reach of its API.
var fixed = map[string]bool{
	"sd_vae_explanation":        true,
	"infotext_explanation":      true,
	"api_enable_requests":       true,
	"api_forbid_local_requests": true,
	"api_useragent":             true,
}

// UnknownKeyError reports an option that does not exist.
type UnknownKeyError struct{ Key string }

func (e *UnknownKeyError) Error() string { return fmt.Sprintf("there is no option %q", e.Key) }

// accept coerces what a client sends, leaving out what may not be set.
func accept(sent *pyjson.Object) (map[string]any, error) {
	out := make(map[string]any, sent.Len())
	for key, value := range sent.All() {
		f, ok := fields[key]
		switch {
		case !ok && value == nil, fixed[key]:
			continue
		case !ok:
			return nil, &UnknownKeyError{key}
		}
		v, errs := f.Coerce(value)
		if len(errs) > 0 {
			return nil, errs.Under("body", key)
		}
		out[key] = v
	}
	return out, nil
}

// acceptForAll is accept for values that every job will read: it refuses one that none
// could use. Errors are as those of accept.
func acceptForAll(sent *pyjson.Object) (map[string]any, error) {
	set, err := accept(sent)
	for key, value := range set {
		if !readable(fields[key].Default, value) {
			wrong := schema.Error{Loc: []any{"body", key}, Msg: "value is not a valid float", Type: "type_error.float"}
			if _, number := fields[key].Default.(float64); !number {
				wrong.Msg, wrong.Type = "str type expected", "type_error.str"
			}
			return nil, schema.Errors{wrong}
		}
	}
	return set, err
}

// readable tells whether a value can be read as what its default is, where A1111 leaves
// the type open. Null is a value of every option; the options without a default are texts.
func readable(def, value any) bool {
	if value == nil {
		return true
	}
	switch def.(type) {
	case nil, string:
		_, ok := value.(string)
		return ok
	case float64, int64:
		switch x := value.(type) {
		case float64:
			return math.Abs(x) < 1<<62
		case int64, bool:
			return true
		}
		return false
	}
	return true
}

// Exists reports whether there is an option of this key.
func Exists(key string) bool { return fields[key] != nil }
