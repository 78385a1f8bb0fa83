package prompt

import (
	"errors"
	"fmt"
)

// LoRA is the meaning of a <lora:name:te:unet:dyn> tag.
type LoRA struct {
	Name        string  // file name without extension, or an alias
	TextEncoder float64 // multiplier of the text encoder's weights, 1 when not given
	UNet        float64 // multiplier of the UNet's weights, TextEncoder's when not given
	DynDim      *int    // rank to which the matrices are cut, nil for all
}

// ParseLoRA reads the arguments of one tag. te=, unet= and dyn= override the positional
// second, third and fourth argument. It fails when the name is missing or a number
// cannot be read.
func ParseLoRA(args []string) (LoRA, error) {
	var ok bool
	positional, named := Network{Args: args}.Arguments()
	if len(positional) == 0 {
		return LoRA{}, errors.New("a LoRA tag names no LoRA: write <lora:name:weight>")
	}
	l := LoRA{Name: positional[0], TextEncoder: 1}
	for _, text := range argument(positional, named, 1, "te") {
		if l.TextEncoder, ok = parseFloat(text); !ok {
			return LoRA{}, fmt.Errorf("LoRA %s: text encoder weight %q is no number", l.Name, text)
		}
	}
	l.UNet = l.TextEncoder
	for _, text := range argument(positional, named, 2, "unet") {
		if l.UNet, ok = parseFloat(text); !ok {
			return LoRA{}, fmt.Errorf("LoRA %s: UNet weight %q is no number", l.Name, text)
		}
	}
	for _, text := range argument(positional, named, 3, "dyn") {
		l.DynDim = new(int)
		if *l.DynDim, ok = parseInt(text); !ok {
			return LoRA{}, fmt.Errorf("LoRA %s: dyn %q is no whole number", l.Name, text)
		}
	}
	return l, nil
}

// argument returns what is given for one argument, by position and then by name. The
// last counts, but all must be readable.
func argument(positional []string, named map[string]string, position int, name string) (given []string) {
	if position < len(positional) {
		given = append(given, positional[position])
	}
	if value, ok := named[name]; ok {
		given = append(given, value)
	}
	return given
}

// LoRAs reads the tags of type lora and of its alias lyco. Tags of one type stay
// together, in the order in which the types first occur. When one tag cannot be read
// there is an error and, as in AUTOMATIC1111, no LoRA takes effect.
func LoRAs(networks []Network) ([]LoRA, error) {
	byType := map[string][]LoRA{}
	var types []string
	for _, n := range networks {
		if n.Type != "lora" && n.Type != "lyco" {
			continue
		}
		l, err := ParseLoRA(n.Args)
		if err != nil {
			return nil, err
		}
		if byType[n.Type] == nil {
			types = append(types, n.Type)
		}
		byType[n.Type] = append(byType[n.Type], l)
	}
	var loras []LoRA
	for _, t := range types {
		loras = append(loras, byType[t]...)
	}
	return loras, nil
}
