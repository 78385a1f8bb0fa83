package imageio

// Text is one entry of the text that a picture file carries, such as the
// generation parameters under the key "parameters".
type Text struct{ Key, Value string }

// latin1 returns the text in ISO 8859-1, and whether it can be written so.
func latin1(s string) ([]byte, bool) {
	out := make([]byte, 0, len(s))
	for _, r := range s {
		if r > 255 {
			return nil, false
		}
		out = append(out, byte(r))
	}
	return out, true
}
