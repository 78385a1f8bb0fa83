package dynamicprompts

import (
	"cmp"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
)

// Wildcards are the folders of files whose values stand for __name__. What a name
// leads to never lies outside of its folder, neither by dots nor by links.
type Wildcards struct {
	Folders []string // a later one wins where two have the same name
	NoDedup bool     // equal values count as often as they come
	NoSort  bool     // values keep the order of the files
	Shuffle bool     // values come in a random order
	Cache   *Cache   // of files that take time to read; nil for none
}

// Value is a value of a wildcard.
type Value struct {
	Text   string
	Weight float64 // 1 unless the file says otherwise
}

// Limits of what is read of the folders.
const (
	maxFiles     = 20_000
	maxFileBytes = 16 << 20
	maxLevels    = 16 // of folders
)

// Names lists the wildcards, sorted.
func (w *Wildcards) Names() ([]string, error) {
	var names []string
	err := w.collect(func(name string) bool { names = append(names, name); return false }, nil)
	slices.Sort(names)
	return slices.Compact(names), err
}

// values are those of all wildcards that match the pattern, those of folders below
// where none does.
func (w *Wildcards) values(pattern, wrap string) ([]Value, error) {
	found, err := w.matching(pattern, wrap)
	if len(found) == 0 && !strings.HasPrefix(pattern, "**") && err == nil {
		found, err = w.matching("**/"+pattern, wrap)
	}
	if !w.NoDedup {
		seen := make(map[Value]bool)
		found = slices.DeleteFunc(found, func(v Value) bool {
			again := seen[v]
			seen[v] = true
			return again
		})
	}
	if !w.NoSort && !w.Shuffle {
		slices.SortStableFunc(found, func(a, b Value) int { return cmp.Compare(a.Text, b.Text) })
	}
	return found, err
}

var slashes = regexp.MustCompile(`[\\/]+`)

// matching joins the values of all wildcards whose names match.
func (w *Wildcards) matching(pattern, wrap string) ([]Value, error) {
	pattern = strings.TrimSuffix(strings.TrimPrefix(pattern, wrap), wrap)
	pattern = strings.Trim(slashes.ReplaceAllLiteralString(pattern, "/"), "/")
	if strings.Contains(pattern, "..") {
		return nil, nil
	}
	var names []string
	values := make(map[string][]Value)
	err := w.collect(glob(pattern), func(name string, list []Value) {
		if _, again := values[name]; !again {
			names = append(names, name)
		}
		values[name] = list
	})
	var out []Value
	for _, name := range names {
		out = append(out, values[name]...)
	}
	return out, err
}

// collect reads the wildcards of all folders whose names are wanted. Folders that do
// not exist have none, files that cannot be read give nothing.
func (w *Wildcards) collect(wanted func(name string) bool, visit func(name string, list []Value)) error {
	for _, folder := range w.Folders {
		root, err := os.OpenRoot(folder)
		if os.IsNotExist(err) {
			continue
		}
		if err != nil {
			return err
		}
		c := collector{root: root, cache: w.Cache, files: maxFiles, wanted: wanted, visit: visit}
		c.walk(".", maxLevels)
		if err := root.Close(); err != nil {
			return err
		}
	}
	return nil
}

// collector reads one folder.
type collector struct {
	root   *os.Root
	cache  *Cache
	files  int // how many more are looked at
	wanted func(name string) bool
	visit  func(name string, list []Value)
}

// walk visits the files of a folder, then the folders in it but for hidden ones.
// Links are followed as far as they stay inside.
func (c *collector) walk(dir string, levels int) {
	entries, err := fs.ReadDir(c.root.FS(), dir)
	if err != nil {
		return
	}
	var folders []string
	for _, e := range entries {
		name := path.Join(dir, e.Name())
		info, err := c.root.Stat(name)
		if err != nil {
			continue
		}
		switch {
		case info.IsDir() && !strings.HasPrefix(e.Name(), "."):
			folders = append(folders, name)
		case info.Mode().IsRegular() && info.Size() <= maxFileBytes:
			if c.files--; c.files < 0 {
				return
			}
			c.file(name, info)
		}
	}
	for _, name := range folders {
		if levels > 0 {
			c.walk(name, levels-1)
		}
	}
}

func (c *collector) file(name string, info fs.FileInfo) {
	stem, ext := split(name)
	switch ext {
	case ".txt":
		if c.wanted(stem) {
			if raw, err := c.root.ReadFile(name); err == nil {
				c.visit(stem, lines(raw))
			}
		}
	case ".json", ".yaml":
		prefix := ""
		if dir := path.Dir(name); dir != "." {
			prefix, _ = split(dir) // the library takes an end like .5 off a folder, too
			prefix += "/"
		}
		for _, l := range c.cache.get(path.Join(c.root.Name(), name), info, func() []namedList {
			raw, err := c.root.ReadFile(name)
			if err != nil {
				return nil
			}
			return structured(raw, ext, path.Base(stem))
		}) {
			if c.wanted(prefix + l.name) {
				c.visit(prefix+l.name, l.values)
			}
		}
	}
}

// split is the name of a file without its ending, and the ending.
func split(name string) (stem, ext string) {
	base := path.Base(name)
	if at := strings.LastIndexByte(base, '.'); at <= 0 || at == len(base)-1 {
		return name, ""
	}
	ext = path.Ext(name)
	return strings.TrimSuffix(name, ext), ext
}

// lines are the values of a text file: a line each, without empty ones and comments.
// Bytes that are no UTF-8 are left out.
func lines(raw []byte) []Value {
	text := strings.ToValidUTF8(string(raw), "")
	text = strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(text)
	var out []Value
	for line := range strings.SplitSeq(text, "\n") {
		line = strings.TrimFunc(line, isSpace)
		if line != "" && !strings.HasPrefix(line, "#") {
			out = append(out, Value{line, 1})
		}
	}
	return out
}

// glob matches names as Python's fnmatch does: * and ? also stand for slashes.
func glob(pattern string) func(string) bool {
	var b strings.Builder
	b.WriteString(`(?s)\A`)
	runes := []rune(pattern)
	for i := 0; i < len(runes); i++ {
		switch r := runes[i]; r {
		case '*':
			b.WriteString(`.*`)
		case '?':
			b.WriteString(`.`)
		case '[':
			set, next, ok := bracket(runes, i)
			b.WriteString(set)
			if ok {
				i = next
			}
		default:
			b.WriteString(regexp.QuoteMeta(string(r)))
		}
	}
	re, err := regexp.Compile(b.String() + `\z`)
	if err != nil { // such as a set of a range from high to low
		return func(string) bool { return false }
	}
	return re.MatchString
}

// bracket writes the set that begins at runes[at], or a bracket where none does.
func bracket(runes []rune, at int) (set string, end int, ok bool) {
	end = at + 1
	if end < len(runes) && runes[end] == '!' {
		end++
	}
	if end < len(runes) && runes[end] == ']' {
		end++
	}
	for end < len(runes) && runes[end] != ']' {
		end++
	}
	if end >= len(runes) {
		return `\[`, at, false
	}
	inside, negated := strings.CutPrefix(string(runes[at+1:end]), "!")
	inside = strings.NewReplacer(`\`, `\\`, `[`, `\[`, `]`, `\]`, `^`, `\^`, `&`, `\&`, `~`, `\~`).Replace(inside)
	if negated {
		return "[^" + inside + "]", end, true
	}
	return "[" + inside + "]", end, true
}
