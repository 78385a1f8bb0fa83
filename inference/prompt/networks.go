package prompt

import (
	"regexp"
	"strings"
)

// Network is an extra-network tag <type:arg:arg...> of a prompt.
type Network struct {
	Type string   // lora, lyco, hypernet or any other word
	Args []string // what follows the type, split at colons; at least one
}

// networkTag has Python's idea of a word in its type.
var networkTag = regexp.MustCompile(`<([\p{L}\p{N}_]+):([^>]+)>`)

// ExtractNetworks cuts every tag out of the text, whatever its type, and returns the
// tags in their order.
func ExtractNetworks(text string) (rest string, networks []Network) {
	var b strings.Builder
	end := 0
	for _, m := range networkTag.FindAllStringSubmatchIndex(text, -1) {
		b.WriteString(text[end:m[0]])
		end = m[1]
		networks = append(networks, Network{
			Type: text[m[2]:m[3]],
			Args: strings.Split(text[m[4]:m[5]], ":"),
		})
	}
	b.WriteString(text[end:])
	return b.String(), networks
}

// Arguments divides Args into those by position and those by name, name=value. A value
// with a second = makes the argument positional, and a repeated name counts once, last.
func (n Network) Arguments() (positional []string, named map[string]string) {
	named = map[string]string{}
	for _, arg := range n.Args {
		name, value, ok := strings.Cut(arg, "=")
		if ok && !strings.Contains(value, "=") {
			named[name] = value
		} else {
			positional = append(positional, arg)
		}
	}
	return positional, named
}
