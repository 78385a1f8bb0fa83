package adapter

import (
	"encoding/json"
	"maps"
	"math"
	"regexp"
	"slices"
	"strings"
)

// trainerNotes are the settings that PEFT and diffusers write beside the tensors:
// the strength of an adapter, which their files have no alpha for.
type trainerNotes struct {
	unet, text *loraConfig // nil where nothing is said
}

// loraConfig is a part of PEFT's LoraConfig.
type loraConfig struct {
	Rank         *float64           `json:"r"`
	Alpha        *float64           `json:"lora_alpha"`
	AlphaPattern map[string]float64 `json:"alpha_pattern"`
	RSLoRA       bool               `json:"use_rslora"`
}

// readNotes reads the header text lora_adapter_metadata of diffusers: a LoraConfig
// with every key behind "unet." or "text_encoder.", or one of the UNet alone.
func readNotes(metadata map[string]string) *trainerNotes {
	var keys map[string]json.RawMessage
	if json.Unmarshal([]byte(metadata["lora_adapter_metadata"]), &keys) != nil {
		return &trainerNotes{}
	}
	return &trainerNotes{unet: configOf(keys, "unet."), text: configOf(keys, "text_encoder.")}
}

// configOf collects the keys of one network, those without prefix if none has it.
func configOf(keys map[string]json.RawMessage, prefix string) *loraConfig {
	own := map[string]json.RawMessage{}
	plain := map[string]json.RawMessage{}
	for key, value := range keys {
		if name, ok := strings.CutPrefix(key, prefix); ok {
			own[name] = value
		} else if !strings.Contains(key, ".") {
			plain[key] = value
		}
	}
	if len(own) == 0 {
		own = plain
	}
	var c loraConfig
	for name, into := range map[string]any{"r": &c.Rank, "lora_alpha": &c.Alpha, "alpha_pattern": &c.AlphaPattern, "use_rslora": &c.RSLoRA} {
		if value, ok := own[name]; ok && json.Unmarshal(value, into) != nil {
			return nil
		}
	}
	if c.Alpha == nil {
		return nil
	}
	return &c
}

// strength returns what PEFT multiplies the product of the factors of a module with;
// ok is false where the file does not say it.
func (n *trainerNotes) strength(module string, text bool, rank int64) (scale float64, ok bool) {
	c := n.unet
	if text {
		c = n.text
	}
	if c == nil {
		return 1, false
	}
	alpha := *c.Alpha
	for _, pattern := range slices.Sorted(maps.Keys(c.AlphaPattern)) { // the order in which diffusers writes them
		if matchesEnd(pattern, module) {
			alpha = c.AlphaPattern[pattern]
			break
		}
	}
	if c.RSLoRA {
		return alpha / math.Sqrt(float64(rank)), true
	}
	return alpha / float64(rank), true
}

// matchesEnd tells whether a pattern stands for a module: it matches the end of the
// name, from a dot or the start (get_pattern_key of PEFT).
func matchesEnd(pattern, module string) bool {
	if re, err := regexp.Compile(`(^|\.)(` + pattern + `)$`); err == nil {
		return re.MatchString(module)
	}
	return module == pattern || strings.HasSuffix(module, "."+pattern)
}
