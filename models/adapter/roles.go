package adapter

import "strings"

// Roles of the tensors of a module, by kohya's and LyCORIS' names.
const (
	loraUp    = "lora_up"
	loraDown  = "lora_down"
	loraMid   = "lora_mid"
	upBias    = "lora_up.bias" // of the up factor, which PEFT can train
	magnitude = "lora_magnitude_vector"
)

// suffixes are the ends of tensor names that other programs than those named above
// write for a role. The dot before one is part of it.
var suffixes = []struct{ end, role string }{
	{".lora_up.weight", loraUp},
	{".lora_down.weight", loraDown},
	{".lora_mid.weight", loraMid},
	{".lora.up.weight", loraUp},
	{".lora.down.weight", loraDown},
	{".lora_linear_layer.up.weight", loraUp},
	{".lora_linear_layer.down.weight", loraDown},
	{"_lora.up.weight", loraUp},
	{"_lora.down.weight", loraDown},
	{".lora_up", loraUp},
	{".lora_down", loraDown},
	{".lora_mid", loraMid},
	{".a1.weight", "a1"},
	{".a2.weight", "a2"},
	{".b1.weight", "b1"},
	{".b2.weight", "b2"},
	{".bm.weight", "bm"},
	{".oft_R.weight", "oft_R"},
	{".q_layer.weight", "q_layer"},
	{".p_layer.weight", "p_layer"},
	{".lora_A", loraDown}, // AdaLoRA's
	{".lora_B", loraUp},
	{".gralora_A_general.weight", "gralora_A_general"},
	{".gralora_B_general.weight", "gralora_B_general"},
	{".ln_tuning_layers.weight", "weight"},
	{".ln_tuning_layers.bias", "bias"},
}

// plainRoles are the roles that end a tensor's name as they are.
var plainRoles = set(
	"alpha", "scale", "scalar", "dora_scale",
	"hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "hada_t1", "hada_t2",
	"lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b", "lokr_t1", "lokr_t2",
	"oft_blocks", "oft_diag", "rescale", "oft_R", "boft_R", "boft_s", "ia3_l", "weight", "on_input", "w_norm", "b_norm", "diff", "diff_b",
	"bias", "bias_indices", "bias_values", "bias_size", "lora_E", "beft_bias",
	"vera_lambda_b", "vera_lambda_d", "delora_A", "delora_B", "delora_lambda", "delora_w_norm", "gralora_A", "gralora_B", "miss_block", "bone_block",
	"c3a_kernel", "shira_weight", "shira_indices", "hira_A", "hira_B", "hra_u", "road_theta", "road_alpha",
)

func set(texts ...string) map[string]bool {
	out := map[string]bool{}
	for _, t := range texts {
		out[t] = true
	}
	return out
}

// splitName divides a tensor's name into module and role.
func splitName(name string) (module, role string, ok bool) {
	for _, s := range suffixes {
		if module, ok := strings.CutSuffix(name, s.end); ok {
			return module, s.role, true
		}
	}
	if module, role, ok := splitPEFT(name); ok {
		return module, role, true
	}
	at := strings.LastIndexByte(name, '.')
	if at < 0 {
		return "", "", false
	}
	if !plainRoles[name[at+1:]] { // PEFT puts the name of the adapter behind
		if again := strings.LastIndexByte(name[:at], '.'); again >= 0 && plainRoles[name[again+1:at]] && name[again+1:at] != "weight" {
			name, at = name[:at], again
		}
	}
	module, role = name[:at], name[at+1:]
	return strings.TrimSuffix(module, ".lora"), role, plainRoles[role]
}

// splitPEFT knows lora_A, lora_B and oft_R with and without the name of the adapter, such
// as default, before weight.
func splitPEFT(name string) (module, role string, ok bool) {
	for _, p := range []struct{ part, role string }{{".lora_A", loraDown}, {".lora_B", loraUp}, {".lora_magnitude_vector", magnitude}, {".oft_R", "oft_R"}} {
		at := strings.LastIndex(name, p.part)
		if at < 0 {
			continue
		}
		rest := strings.Split(name[at+len(p.part):], ".")
		if rest[0] != "" {
			continue
		}
		end := rest[len(rest)-1]
		switch {
		case len(rest) > 3:
			continue
		case p.role == magnitude, end == "weight":
			return name[:at], p.role, true
		case end == "bias" && p.role == loraUp:
			return name[:at], upBias, true
		}
	}
	return "", "", false
}

// isCounter knows tensors that say nothing about weights: counters of trainers and
// of the text encoder's positions.
func isCounter(name string) bool {
	return strings.HasSuffix(name, "position_ids") || strings.HasSuffix(name, "global_step")
}

// vague are roles that other models have, too.
var vague = set("weight", "bias", "scale", "alpha", "scalar", "rescale")

// Recognize tells whether a tensor's name is that of an adapter's part.
func Recognize(name string) bool {
	if strings.HasPrefix(name, bundlePrefix) || strings.HasPrefix(name, "lora_unet_") || strings.HasPrefix(name, "lora_te_") ||
		strings.Contains(name, ".ln_tuning_layers.") {
		return true
	}
	_, role, ok := splitName(name)
	_, _, other := otherTuner(name)
	return other || sharedTensor(name) != "" || ok && !vague[role]
}
