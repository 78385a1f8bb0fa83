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

	ownBlocks bool // a layer of the file has a rotation for each of its blocks
}

// loraConfig is a part of PEFT's configurations.
type loraConfig struct {
	Rank         *float64           `json:"r"`
	Alpha        *float64           `json:"lora_alpha"`
	AlphaPattern map[string]float64 `json:"alpha_pattern"`
	RankPattern  map[string]float64 `json:"rank_pattern"` // true or false in AdaLoRA's, which is not read
	RSLoRA       bool               `json:"use_rslora"`

	Init json.RawMessage `json:"init_lora_weights"`

	// Of an OFTConfig.
	Neumann *bool `json:"use_cayley_neumann"`
	Terms   *int  `json:"num_cayley_neumann_terms"`
	Share   *bool `json:"block_share"`

	// Of other configurations.
	OtherAlpha *float64 `json:"alpha"`      // LoHa's, LoKr's and GraLoRA's
	GroupSize  *int     `json:"group_size"` // RoAd's
	Orthogonal bool     `json:"apply_GS"`   // HRA's
	Variant    string   `json:"variant"`    // RoAd's

	Weights   json.RawMessage `json:"init_weights"` // of MiSS "mini" where outputs repeat
	MiniWidth int             `json:"mini_r"`       // then after so many

	// Of an IA3Config: names, or one expression.
	FeedForward json.RawMessage `json:"feedforward_modules"`
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

// Configure takes the settings that PEFT writes beside a file as adapter_config.json,
// unless the file's header has its own.
func (f *File) Configure(config []byte) {
	if f.metadata.unet == nil && f.metadata.text == nil {
		read := readNotes(map[string]string{"lora_adapter_metadata": string(config)})
		f.metadata.unet, f.metadata.text = read.unet, read.text
	}
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
	for name, into := range map[string]any{
		"r": &c.Rank, "lora_alpha": &c.Alpha, "alpha_pattern": &c.AlphaPattern, "rank_pattern": &c.RankPattern, "use_rslora": &c.RSLoRA, "init_lora_weights": &c.Init,
		"use_cayley_neumann": &c.Neumann, "num_cayley_neumann_terms": &c.Terms, "block_share": &c.Share, "feedforward_modules": &c.FeedForward,
		"alpha": &c.OtherAlpha, "group_size": &c.GroupSize, "apply_GS": &c.Orthogonal, "variant": &c.Variant, "init_weights": &c.Weights, "mini_r": &c.MiniWidth,
	} {
		if value, ok := own[name]; ok && json.Unmarshal(value, into) != nil && name != "rank_pattern" {
			return nil
		}
	}
	return &c
}

// of returns the settings of a network, empty ones where nothing is said.
func (n *trainerNotes) of(text bool) *loraConfig {
	c := n.unet
	if text {
		c = n.text
	}
	if c == nil {
		c = &loraConfig{}
	}
	return c
}

// alpha returns the strength of GraLoRA, or the default.
func (c *loraConfig) alpha(otherwise float64) float64 {
	if c.OtherAlpha != nil {
		return *c.OtherAlpha
	}
	return otherwise
}

// group returns the size of a group of RoAd, or the default.
func (c *loraConfig) group(otherwise int) int {
	if c.GroupSize != nil {
		return *c.GroupSize
	}
	return otherwise
}

// repeats is after how many outputs those of MiSS repeat, of a layer of some outputs.
func (c *loraConfig) repeats(out int) int {
	var method string
	if json.Unmarshal(c.Weights, &method) == nil && method == "mini" {
		return c.MiniWidth
	}
	return out
}

// anglesOf is how many angles RoAd has for a number of outputs, 0 where nothing is said.
func (c *loraConfig) anglesOf(out int) int {
	return map[string]int{"road_1": out / 2, "road_2": out, "road_4": 2 * out}[c.Variant]
}

// changedBase returns how PEFT began a LoRA where it changed the base for that, "" where
// it did not. Its files fit that base alone, unless they were converted as they were
// saved, which the settings then say.
func (c *loraConfig) changedBase() string {
	var method string
	if json.Unmarshal(c.Init, &method) != nil {
		return ""
	}
	for _, known := range []string{"pissa", "olora", "corda", "loftq", "lora_ga"} {
		if strings.HasPrefix(method, known) {
			return method
		}
	}
	return ""
}

// strength returns what PEFT multiplies the product of the factors of a module with;
// ok is false where the file does not say it.
func (n *trainerNotes) strength(module string, text bool, rank int64) (scale float64, ok bool) {
	c := n.unet
	if text {
		c = n.text
	}
	if c == nil || c.Alpha == nil {
		return 1, false
	}
	alpha := patterned(c.AlphaPattern, module, *c.Alpha)
	if c.RSLoRA {
		return alpha / math.Sqrt(float64(rank)), true
	}
	return alpha / float64(rank), true
}

// patterned returns the value for a module of a pattern, or the one for all.
func patterned(patterns map[string]float64, module string, otherwise float64) float64 {
	for _, pattern := range slices.Sorted(maps.Keys(patterns)) { // the order in which diffusers writes them
		if matchesEnd(pattern, module) {
			return patterns[pattern]
		}
	}
	return otherwise
}

// otherStrength returns what PEFT multiplies the change of its LoHa and LoKr with, 1
// where the settings do not say it.
func (c *loraConfig) otherStrength(module string) float64 {
	if c.OtherAlpha == nil || c.Rank == nil || *c.Rank == 0 {
		return 1
	}
	return patterned(c.AlphaPattern, module, *c.OtherAlpha) / patterned(c.RankPattern, module, *c.Rank)
}

// rotation returns whether PEFT's OFT computes its rotations exactly, else the number
// of terms.
func (n *trainerNotes) rotation(text bool) (exact bool, terms int) {
	const usual = 5
	c := n.unet
	if text {
		c = n.text
	}
	switch {
	case c == nil:
		return false, usual
	case c.Neumann != nil && !*c.Neumann:
		return true, 0
	case c.Terms != nil && *c.Terms >= 1 && *c.Terms <= 64:
		return false, *c.Terms
	}
	return false, usual
}

// shared tells whether a rotation that is smaller than its layer may be that of all
// blocks; else it is one of another layer.
func (n *trainerNotes) shared(text bool) bool {
	if share := n.of(text).Share; share != nil {
		return *share
	}
	return !n.ownBlocks
}

// feedsForward tells whether PEFT's IA3 of a module is for its inputs.
func (n *trainerNotes) feedsForward(module string, text bool) bool {
	c := n.unet
	if text {
		c = n.text
	}
	if c == nil {
		return false
	}
	var names []string
	var expression string
	if json.Unmarshal(c.FeedForward, &names) == nil {
		return slices.ContainsFunc(names, func(name string) bool { return module == name || strings.HasSuffix(module, "."+name) })
	}
	if json.Unmarshal(c.FeedForward, &expression) == nil && expression != "" {
		re, err := regexp.Compile("^(?:" + expression + ")$")
		return err == nil && re.MatchString(module)
	}
	return false
}

// matchesEnd tells whether a pattern stands for a module: it matches the end of the
// name, from a dot or the start (get_pattern_key of PEFT).
func matchesEnd(pattern, module string) bool {
	if re, err := regexp.Compile(`(^|\.)(` + pattern + `)$`); err == nil {
		return re.MatchString(module)
	}
	return module == pattern || strings.HasSuffix(module, "."+pattern)
}
