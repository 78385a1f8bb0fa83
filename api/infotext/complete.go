package infotext

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"sdworker/inference/imageio"
	"sdworker/inference/prompt"
)

// defaults are the keys a text leaves out at their usual value (A1111
// modules/infotext_utils.py).
var defaults = []Entry{
	{"Clip skip", "1"},
	{"Hires resize-1", 0},
	{"Hires resize-2", 0},
	{"Hires sampler", "Use same sampler"},
	{"Hires schedule type", "Use same scheduler"},
	{"Hires checkpoint", "Use same checkpoint"},
	{"Hires prompt", ""},
	{"Hires negative prompt", ""},
	{"Mask mode", "Inpaint masked"},
	{"Masked content", "original"},
	{"Inpaint area", "Whole picture"},
	{"Masked area padding", 32},
	{"RNG", "GPU"},
	{"Schedule type", "Automatic"},
	{"Schedule max sigma", 0},
	{"Schedule min sigma", 0},
	{"Schedule rho", 0},
	{"VAE Encoder", "Full"},
	{"VAE Decoder", "Full"},
	{"FP8 weight", "Disable"},
	{"Refiner switch by sampling steps", false},
}

// complete adds what a text does not say but means.
func (r Reader) complete(f Fields) {
	if f["Emphasis"] == nil && (weighted(f.Prompt()) || weighted(f.NegativePrompt())) {
		f["Emphasis"] = "Original"
	}
	if name, ok := f["Hypernet"].(string); ok {
		strength := "1.0"
		if s, ok := f["Hypernet strength"].(string); ok {
			strength = s
		}
		f["Prompt"] = f.Prompt() + "<hypernet:" + name + ":" + strength + ">"
	}
	for _, d := range defaults {
		if _, ok := f[d.Key]; !ok {
			f[d.Key] = d.Value
		}
	}
	if _, ok := f["Cache FP16 weight for LoRA"]; !ok && f["FP8 weight"] != "Disable" {
		f["Cache FP16 weight for LoRA"] = false
	}
	r.oldHires(f)
	if !r.IgnoreVersion {
		oldVersions(f)
	}
}

// oldHires turns the "First pass size" of texts from before 2023 into today's
// terms, in which Size is the first pass and Hires resize the result.
func (r Reader) oldHires(f Fields) {
	if w, _ := f.number("Hires resize-1"); r.HiresIsSize && w != 0 {
		if h, _ := f.number("Hires resize-2"); h != 0 {
			f["Size-1"], f["Size-2"] = w, h
			return
		}
	}
	passW, ok := f.number("First pass size-1")
	if !ok {
		return
	}
	passH, ok := f.number("First pass size-2")
	if !ok {
		return
	}
	w, h := 512, 512
	if n, ok := f.number("Size-1"); ok {
		w = n
	}
	if n, ok := f.number("Size-2"); ok {
		h = n
	}
	if (passW == 0 || passH == 0) && w > 0 && h > 0 {
		passW, passH = imageio.FirstPass512(w, h)
	}
	f["Size-1"], f["Size-2"] = passW, passH
	f["Hires resize-1"], f["Hires resize-2"] = w, h
}

// oldVersions switches on the behaviour that the text's version still had (A1111
// modules/infotext_versions.py).
func oldVersions(f Fields) {
	v, ok := parseVersion(f.text("Version"))
	if !ok {
		return
	}
	if v.before(version{release: [3]int{1, 6, 0}}) {
		if strings.Contains(f.Prompt(), "[") {
			f["Old prompt editing timelines"] = true
		}
		if sampler := f.text("Sampler"); sampler == "DDIM" || sampler == "PLMS" {
			f["Pad conds v0"] = true
		}
	}
	if v.before(version{release: [3]int{1, 7, 0}, commits: 225}) {
		f["Downcast alphas_cumprod"] = true
	}
	if v.before(version{release: [3]int{1, 8, 0}}) && f.text("Refiner") != "" {
		f["Refiner switch by sampling steps"] = true
	}
}

// version is a release number, a mark for what came before that release, and the
// number of commits since.
type version struct {
	release   [3]int
	candidate bool
	commits   int
}

func (v version) before(w version) bool {
	if c := slices.Compare(v.release[:], w.release[:]); c != 0 {
		return c < 0
	}
	if v.candidate != w.candidate {
		return v.candidate
	}
	return v.commits < w.commits
}

var (
	describeTail = regexp.MustCompile(`^([^-]+-[^-]+)-.*$`)
	versionForm  = regexp.MustCompile(`(?i)^v?(\d+)(?:\.(\d+))?(?:\.(\d+))?(?:\.\d+)*([-_.]?(?:alpha|beta|preview|pre|rc|a|b|c)[-_.]?\d*)?(?:-(\d+))?$`)
)

// parseVersion reads a release ("v1.9.3"), a candidate ("v1.10.0-RC") or the output
// of git describe ("v1.7.0-225-gabcdef0").
func parseVersion(s string) (version, bool) {
	if m := describeTail.FindStringSubmatch(s); m != nil {
		s = m[1]
	}
	m := versionForm.FindStringSubmatch(s)
	if m == nil {
		return version{}, false
	}
	v := version{candidate: m[4] != ""}
	for i := range v.release {
		v.release[i], _ = strconv.Atoi(m[1+i]) // an absent part is 0
	}
	v.commits, _ = strconv.Atoi(m[5])
	return v, true
}

// weighted reports whether a prompt gives any of its text a weight other than 1.
func weighted(text string) bool {
	spans, err := prompt.ParseAttention(text)
	return err == nil && slices.ContainsFunc(spans, func(s prompt.Span) bool {
		return s.Weight != 1 && s.Text != "BREAK" // the marker has a weight of its own
	})
}
