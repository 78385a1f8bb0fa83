package dynamicprompts

import (
	"errors"
	"io/fs"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"sdworker/api/sdapi/pyjson"
)

// namedList is a wildcard inside a structured file.
type namedList struct {
	name   string
	values []Value
}

// Cache keeps what structured files hold until they change. Its zero value is
// empty; it is safe for concurrent use.
type Cache struct {
	mu    sync.Mutex
	files map[string]cachedFile
}

type cachedFile struct {
	size    int64
	changed time.Time
	lists   []namedList
}

// cachedFiles is how many files are kept.
const cachedFiles = 256

// get returns what the file holds, read again if it changed.
func (c *Cache) get(name string, info fs.FileInfo, read func() []namedList) []namedList {
	if c == nil {
		return read()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if f, ok := c.files[name]; ok && f.size == info.Size() && f.changed.Equal(info.ModTime()) {
		return f.lists
	}
	if c.files == nil || len(c.files) >= cachedFiles {
		c.files = make(map[string]cachedFile)
	}
	lists := read()
	c.files[name] = cachedFile{info.Size(), info.ModTime(), lists}
	return lists
}

// structured reads a JSON or YAML file: an object of lists and of objects like
// itself, whose keys make the names, or one list, which has the name of the file.
func structured(raw []byte, ext, stem string) []namedList {
	var data any
	var err error
	if ext == ".json" {
		data, err = pyjson.Decode(raw)
	} else {
		data, err = decodeYAML(raw)
	}
	if err != nil {
		return nil
	}
	switch data := data.(type) {
	case *pyjson.Object:
		return lists(data, "")
	case []any:
		var values []Value
		for _, item := range data {
			if s, ok := item.(string); ok {
				values = append(values, Value{s, 1})
			}
		}
		return []namedList{{stem, values}}
	}
	return nil
}

func lists(o *pyjson.Object, prefix string) []namedList {
	var out []namedList
	for key, v := range o.All() {
		name := prefix + key
		switch v := v.(type) {
		case string:
			if v != "" {
				out = append(out, namedList{name, items([]any{v})})
			}
		case []any:
			if len(v) > 0 {
				if values := items(v); values != nil {
					out = append(out, namedList{name, values})
				}
			}
		case *pyjson.Object:
			out = append(out, lists(v, name+"/")...)
		}
	}
	return out
}

// items reads texts, texts with a weight before ::, and objects with text and
// weight. It is nil where a weight is no number, which spoils the list.
func items(list []any) []Value {
	out := []Value{}
	for _, item := range list {
		switch item := item.(type) {
		case string:
			if item != "" {
				out = append(out, weighted(item))
			}
		case *pyjson.Object:
			weight := 1.0
			if v, ok := item.Get("weight"); ok {
				var err error
				if weight, err = number(v); err != nil {
					return nil
				}
			}
			text, _ := item.Get("text")
			content, _ := text.(string)
			if content == "" {
				text, _ = item.Get("content")
				content, _ = text.(string)
			}
			if content != "" {
				out = append(out, Value{content, weight})
			}
		}
	}
	return out
}

func weighted(item string) Value {
	first, _ := utf8.DecodeRuneInString(item)
	if at := strings.LastIndex(item, "::"); at >= 0 && unicode.IsDigit(first) {
		if w, err := number(item[:at]); err == nil {
			return Value{item[at+2:], w}
		}
	}
	return Value{item, 1}
}

var errNumber = errors.New("not a number")

// number is Python's float().
func number(v any) (float64, error) {
	switch v := v.(type) {
	case string:
		return strconv.ParseFloat(strings.TrimFunc(v, isSpace), 64)
	case float64:
		return v, nil
	case int64:
		return float64(v), nil
	case bool:
		if v {
			return 1, nil
		}
		return 0, nil
	}
	return 0, errNumber
}

// maxNodes is how many values a YAML file may have, those that aliases repeat
// counted each time.
const maxNodes = 1 << 18

// decodeYAML reads YAML into what pyjson.Decode gives for JSON. Plain scalars are
// what YAML 1.1 says, since PyYAML reads no later version: yes and on are no texts.
func decodeYAML(raw []byte) (any, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(raw, &doc); err != nil {
		return nil, err
	}
	if len(doc.Content) == 0 {
		return nil, nil
	}
	r := yamlReader{left: maxNodes}
	return r.value(doc.Content[0])
}

type yamlReader struct{ left int }

var errTooLarge = errors.New("too many values")

func (r *yamlReader) value(n *yaml.Node) (any, error) {
	if r.left--; r.left < 0 {
		return nil, errTooLarge
	}
	switch n.Kind {
	case yaml.AliasNode:
		return r.value(n.Alias)
	case yaml.SequenceNode:
		list := make([]any, 0, len(n.Content))
		for _, c := range n.Content {
			v, err := r.value(c)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		return list, nil
	case yaml.MappingNode:
		o := pyjson.NewObject()
		return o, r.object(n, o)
	default:
		return scalar(n), nil
	}
}

func (r *yamlReader) object(n *yaml.Node, o *pyjson.Object) error {
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, err := r.value(n.Content[i])
		if err != nil {
			return err
		}
		name, ok := key.(string)
		if !ok { // keys that are no texts name nothing
			continue
		}
		v, err := r.value(n.Content[i+1])
		if err != nil {
			return err
		}
		o.Set(name, v)
	}
	return nil
}

// Plain scalars of YAML 1.1 that are no texts (PyYAML, resolver.py).
var (
	yamlNumber = regexp.MustCompile(`^(?:[-+]?0b[0-1_]+|[-+]?0[0-7_]+|[-+]?(?:0|[1-9][0-9_]*)|[-+]?0x[0-9a-fA-F_]+|[-+]?[1-9][0-9_]*(?::[0-5]?[0-9])+` +
		`|[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+][0-9]+)?|\.[0-9][0-9_]*(?:[eE][-+][0-9]+)?|[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+\.[0-9_]*|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$`)
	yamlWord = regexp.MustCompile(`^(?:yes|Yes|YES|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF|~|null|Null|NULL|)$`)
	yamlDate = regexp.MustCompile(`^(?:\d{4}-\d\d-\d\d|\d{4}-\d\d?-\d\d?(?:[Tt]|[ \t]+)\d\d?:\d\d:\d\d(?:\.\d*)?(?:[ \t]*(?:Z|[-+]\d\d?(?::\d\d)?))?)$`)
)

func scalar(n *yaml.Node) any {
	const quoted = yaml.DoubleQuotedStyle | yaml.SingleQuotedStyle | yaml.LiteralStyle | yaml.FoldedStyle
	if n.Style&(quoted|yaml.TaggedStyle) != 0 {
		return n.Value
	}
	switch {
	case yamlWord.MatchString(n.Value), yamlDate.MatchString(n.Value):
		return nil
	case yamlNumber.MatchString(n.Value):
		f, err := strconv.ParseFloat(strings.ReplaceAll(n.Value, "_", ""), 64)
		if err != nil {
			return nil
		}
		return f
	}
	return n.Value
}
