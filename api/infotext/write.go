package infotext

import (
	"slices"
	"strings"
)

// Write prints the text of one picture.
func Write(p Params) string {
	var line []string
	for _, e := range p.entries() {
		switch e.Value {
		case nil:
		case e.Key:
			line = append(line, e.Key)
		default:
			line = append(line, e.Key+": "+Quote(e.Value))
		}
	}
	text := p.Request.Prompt
	if p.Request.NegativePrompt != "" {
		text += "\n" + negativeLabel + " " + p.Request.NegativePrompt
	}
	return strip(text + "\n" + strings.Join(line, ", "))
}

const negativeLabel = "Negative prompt:"

// entries lists all keys in their order; a nil value leaves the key out but keeps
// its place, for a later value of the same key.
func (p Params) entries() []Entry {
	var t table
	p.generationEntries(&t)
	for _, e := range p.extras().entries {
		t.set(e.Key, e.Value)
	}
	t.set("Version", text(p.Version))
	t.set("User", text(p.User))
	return t.entries
}

// Extra lists the keys that A1111 calls extra generation parameters: what scripts,
// hires fix, inpainting, networks and samplers add.
func (p Params) Extra() []Entry {
	return slices.DeleteFunc(p.extras().entries, func(e Entry) bool { return e.Value == nil })
}

// extras collects them in the order of A1111's steps.
func (p Params) extras() *table {
	t := new(table)
	r, mask := p.Request, p.mask()
	schedule := scheduleLabel(r.Sampler, deref(p.Scheduler))
	for _, e := range p.Scripts {
		t.set(e.Key, e.Value)
	}
	t.set("Denoising strength", when(r.Init != nil || r.Hires != nil, r.DenoisingStrength))
	p.Hires.entries(t, p, schedule)
	maskEntries(t, mask)
	if p.Hires == nil {
		t.set("VAE Encoder", vae(p.Sampling.VAEEncoder))
	}
	latentMaskEntries(t, mask)
	t.set("Lora hashes", text(hashes(p.Loras)))
	t.set("Old prompt editing timelines", when(p.Sampling.OldTimelines, true))
	t.set("TI hashes", text(hashes(p.Embeddings)))
	t.set("Emphasis", when(r.Settings.Emphasis != "" && r.Settings.Emphasis != "Original" && anyAttention(p.Encoded), r.Settings.Emphasis))
	p.samplingEntries(t, schedule)
	return t
}

func vae(method string) any { return when(method != "Full", text(method)) }

// hashes joins names and hashes; a name counts once and loses the two characters
// that would break the list.
func hashes(list []Hash) string {
	var parts []string
	seen := map[string]bool{}
	for _, h := range list {
		name := strings.NewReplacer(":", "", ",", "").Replace(h.Name)
		if h.Hash == "" || seen[name] {
			continue
		}
		seen[name] = true
		parts = append(parts, name+": "+h.Hash)
	}
	return strings.Join(parts, ", ")
}

func anyAttention(texts []string) bool {
	for _, s := range texts {
		if strings.ContainsAny(s, "([") {
			return true
		}
	}
	return false
}

// table is a list of entries in which a key keeps the place it first had, as in
// a Python dict.
type table struct {
	entries []Entry
	at      map[string]int
}

func (t *table) set(key string, value any) {
	if t.at == nil {
		t.at = map[string]int{}
	}
	if i, ok := t.at[key]; ok {
		t.entries[i].Value = value
		return
	}
	t.at[key] = len(t.entries)
	t.entries = append(t.entries, Entry{key, value})
}

func when(present bool, value any) any {
	if !present {
		return nil
	}
	return value
}

func text(s string) any { return when(s != "", s) }

func nonZero(v float64) any { return when(v != 0, v) }

func optional[T any](v *T) any {
	if v == nil {
		return nil
	}
	return *v
}

func deref[T any](v *T) (value T) {
	if v != nil {
		value = *v
	}
	return value
}
