package torchfile

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
)

// A pickle is a program for a stack machine. This one knows no classes and
// calls nothing: what a file wants to have called becomes an object that
// remembers the wish. So no pickle can do harm here, whatever it contains.

// global is the name of a class or function.
type global struct{ module, name string }

// object is a call that was not made, and the state it was to get.
type object struct {
	class global
	args  []any
	state any
}

// dict and list are what their names say, with identity, as the program may
// fill them after they were stored.
type (
	dict struct {
		keys   []any
		values []any
	}
	list  struct{ items []any }
	tuple []any
	mark  struct{}
	null  struct{}
)

func (d *dict) set(k, v any) {
	d.keys = append(d.keys, k)
	d.values = append(d.values, v)
}

// get finds the last value of a text key.
func (d *dict) get(key string) (any, bool) {
	for i, v := range slices.Backward(d.keys) {
		if v == key {
			return d.values[i], true
		}
	}
	return nil, false
}

// machine runs one pickle.
type machine struct {
	r     *counter
	stack []any
	memo  map[uint32]any
	// persistent resolves the references to storages.
	persistent func(any) (any, error)
	plain      bool // no objects but those of plainClasses
}

// counter reads and knows where it is.
type counter struct {
	*bufio.Reader
	pos int64
	end int64
}

func (c *counter) bytes(n int64) ([]byte, error) {
	if n < 0 || n > c.end-c.pos {
		return nil, errors.New("it ends in the middle of its description")
	}
	b := make([]byte, n)
	_, err := io.ReadFull(c.Reader, b)
	c.pos += n
	return b, err
}

// line reads up to the end of a line, which old protocols use.
func (c *counter) line() (string, error) {
	s, err := c.ReadString('\n')
	c.pos += int64(len(s))
	return strings.TrimSuffix(s, "\n"), err
}

func (m *machine) push(v any) { m.stack = append(m.stack, v) }

var errStack = errors.New("its description is no valid pickle")

func (m *machine) pop() (any, error) {
	if len(m.stack) == 0 {
		return nil, errStack
	}
	v := m.stack[len(m.stack)-1]
	m.stack = m.stack[:len(m.stack)-1]
	return v, nil
}

func (m *machine) top() (any, error) {
	if len(m.stack) == 0 {
		return nil, errStack
	}
	return m.stack[len(m.stack)-1], nil
}

// popMark returns everything above the last mark.
func (m *machine) popMark() ([]any, error) {
	for i, v := range slices.Backward(m.stack) {
		if _, ok := v.(mark); ok {
			items := append([]any(nil), m.stack[i+1:]...)
			m.stack = m.stack[:i]
			return items, nil
		}
	}
	return nil, errStack
}

// run executes the program up to its end and returns the value it makes.
func (m *machine) run() (any, error) {
	for {
		op, err := m.r.bytes(1)
		if err != nil {
			return nil, err
		}
		if op[0] == '.' {
			return m.pop()
		}
		if err := m.step(op[0]); err != nil {
			return nil, err
		}
	}
}

func (m *machine) step(op byte) error {
	if width, ok := literals[op]; ok {
		return m.literal(op, width)
	}
	switch op {
	case '(':
		m.push(mark{})
	case '0':
		_, err := m.pop()
		return err
	case '1':
		_, err := m.popMark()
		return err
	case '2':
		v, err := m.top()
		m.push(v)
		return err
	case 'N':
		m.push(null{})
	case 0x88, 0x89:
		m.push(op == 0x88)
	case '}':
		m.push(&dict{})
	case ']', 0x8f:
		m.push(&list{})
	case ')':
		m.push(tuple{})
	case 0x80: // protocol
		_, err := m.r.bytes(1)
		return err
	case 0x95: // frame: only a hint for reading
		_, err := m.r.bytes(8)
		return err
	case 't', 'l', 'd', 0x91, 'e', 'u', 0x90:
		return m.collect(op)
	case 0x85, 0x86, 0x87:
		return m.pack(int(op - 0x84))
	case 'a', 's':
		return m.addOne(op)
	case 'q', 'r', 'p', 0x94, 'h', 'j', 'g':
		return m.remember(op)
	case 'c', 'i', 0x93:
		return m.name(op)
	case 'R', 0x81, 0x92, 'o':
		return m.call(op)
	case 'b':
		return m.build()
	case 'Q':
		v, err := m.pop()
		if err != nil {
			return err
		}
		v, err = m.persistent(v)
		m.push(v)
		return err
	default:
		return fmt.Errorf("its description uses the unknown operation %#x", op)
	}
	return nil
}

// literals are the operations that push a value that follows, with the width of
// its length or of itself; 0 stands for a line of text.
var literals = map[byte]int{
	'J': 4, 'K': 1, 'M': 2, 'G': 8, 0x8a: 1, 0x8b: 4,
	'X': 4, 0x8c: 1, 0x8d: 8, 'T': 4, 'U': 1, 'B': 4, 'C': 1, 0x8e: 8, 0x96: 8,
	'I': 0, 'L': 0, 'F': 0, 'S': 0, 'V': 0,
}

func (m *machine) literal(op byte, width int) error {
	if width == 0 {
		return m.lineLiteral(op)
	}
	raw, err := m.r.bytes(int64(width))
	if err != nil {
		return err
	}
	var buf [8]byte
	copy(buf[:], raw)
	n := int64(binary.LittleEndian.Uint64(buf[:]))
	switch op {
	case 'J':
		m.push(int64(int32(n)))
	case 'K', 'M':
		m.push(n)
	case 'G':
		m.push(math.Float64frombits(binary.BigEndian.Uint64(buf[:])))
	case 0x8a, 0x8b:
		digits, err := m.r.bytes(n)
		if err != nil {
			return err
		}
		m.push(long(digits))
	default:
		text, err := m.r.bytes(n)
		if err != nil {
			return err
		}
		m.push(string(text))
	}
	return nil
}

// long reads a two's complement number; one that does not fit into 63 bits, such
// as PyTorch's magic number, is told by its digits.
func long(digits []byte) any {
	if len(digits) > 8 {
		return string(digits)
	}
	var n int64
	for i, d := range digits {
		n |= int64(d) << (8 * i)
	}
	if len(digits) > 0 && len(digits) < 8 && digits[len(digits)-1] >= 0x80 {
		n -= 1 << (8 * len(digits))
	}
	return n
}

func (m *machine) lineLiteral(op byte) error {
	text, err := m.r.line()
	if err != nil {
		return errStack
	}
	switch op {
	case 'I', 'L':
		n, err := strconv.ParseInt(strings.TrimSuffix(text, "L"), 10, 64)
		if err != nil {
			return errStack
		}
		m.push(n)
	case 'F':
		f, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return errStack
		}
		m.push(f)
	default:
		m.push(strings.Trim(text, `'"`))
	}
	return nil
}

// collect ends a sequence that a mark began.
func (m *machine) collect(op byte) error {
	items, err := m.popMark()
	if err != nil {
		return err
	}
	switch op {
	case 't':
		m.push(tuple(items))
		return nil
	case 'l', 0x91:
		m.push(&list{items})
		return nil
	case 'd':
		m.push(&dict{})
		op = 'u'
	}
	into, err := m.top()
	if err != nil {
		return err
	}
	if op == 'u' {
		return setItems(into, items)
	}
	if l, ok := into.(*list); ok {
		l.items = append(l.items, items...)
	}
	return nil
}

func setItems(into any, items []any) error {
	if len(items)%2 != 0 {
		return errStack
	}
	d, ok := asDict(into)
	if !ok {
		return nil // an object with items of its own, which nobody asks for
	}
	for i := 0; i < len(items); i += 2 {
		d.set(items[i], items[i+1])
	}
	return nil
}

// asDict also takes the ordered dictionaries of Python, which arrive as calls.
func asDict(v any) (*dict, bool) {
	switch v := v.(type) {
	case *dict:
		return v, true
	case *object:
		if d, ok := v.state.(*dict); ok && v.class == orderedDict {
			return d, true
		}
	}
	return nil, false
}

func (m *machine) pack(n int) error {
	if len(m.stack) < n {
		return errStack
	}
	at := len(m.stack) - n
	t := tuple(append([]any(nil), m.stack[at:]...))
	m.stack = append(m.stack[:at], t)
	return nil
}

func (m *machine) addOne(op byte) error {
	n := 1
	if op == 's' {
		n = 2
	}
	if len(m.stack) < n+1 {
		return errStack
	}
	items := append([]any(nil), m.stack[len(m.stack)-n:]...)
	m.stack = m.stack[:len(m.stack)-n]
	into := m.stack[len(m.stack)-1]
	if op == 's' {
		return setItems(into, items)
	}
	if l, ok := into.(*list); ok {
		l.items = append(l.items, items...)
	}
	return nil
}

// remember stores the top of the stack under a number, or brings a stored value
// back.
func (m *machine) remember(op byte) error {
	var at uint32
	switch op {
	case 0x94:
		at = uint32(len(m.memo))
	case 'p', 'g':
		text, err := m.r.line()
		if err != nil {
			return errStack
		}
		n, err := strconv.ParseUint(text, 10, 32)
		if err != nil {
			return errStack
		}
		at = uint32(n)
	default:
		width := int64(1)
		if op == 'r' || op == 'j' {
			width = 4
		}
		raw, err := m.r.bytes(width)
		if err != nil {
			return err
		}
		var buf [4]byte
		copy(buf[:], raw)
		at = binary.LittleEndian.Uint32(buf[:])
	}
	if op == 'h' || op == 'j' || op == 'g' {
		v, ok := m.memo[at]
		if !ok {
			return errStack
		}
		m.push(v)
		return nil
	}
	v, err := m.top()
	m.memo[at] = v
	return err
}

// name pushes a global; 'i' is an old way to make an object of it at once.
func (m *machine) name(op byte) error {
	if op == 0x93 {
		name, err1 := m.pop()
		module, err2 := m.pop()
		n, ok1 := name.(string)
		mod, ok2 := module.(string)
		if err1 != nil || err2 != nil || !ok1 || !ok2 {
			return errStack
		}
		m.push(global{mod, n})
		return nil
	}
	module, err1 := m.r.line()
	name, err2 := m.r.line()
	if err1 != nil || err2 != nil {
		return errStack
	}
	if op == 'c' {
		m.push(global{module, name})
		return nil
	}
	args, err := m.popMark()
	if err != nil {
		return err
	}
	return m.make(global{module, name}, args)
}

// call turns a call into an object that was not made, and those that describe
// tensors into tensors.
func (m *machine) call(op byte) error {
	var args []any
	var class any
	var err error
	switch op {
	case 'o':
		args, err = m.popMark()
		if err != nil || len(args) == 0 {
			return errStack
		}
		class, args = args[0], args[1:]
	default:
		if op == 0x92 { // keyword arguments
			if _, err := m.pop(); err != nil {
				return err
			}
		}
		var a any
		if a, err = m.pop(); err != nil {
			return err
		}
		if class, err = m.pop(); err != nil {
			return err
		}
		t, _ := a.(tuple)
		args = t
	}
	g, _ := class.(global)
	if t, ok, err := rebuild(g, args); ok || err != nil {
		m.push(t)
		return err
	}
	return m.make(g, args)
}

var orderedDict = global{"collections", "OrderedDict"}

// plainClasses are those of plain containers. The attributes of a ParameterDict
// contain a set.
var plainClasses = []global{
	orderedDict,
	{"torch.nn.modules.container", "ParameterDict"},
	{"builtins", "set"},
	{"__builtin__", "set"}, // its name in protocol 2
}

// make pushes the object for a call that is not made.
func (m *machine) make(g global, args []any) error {
	if m.plain && !slices.Contains(plainClasses, g) {
		return malformed("it wants to call %.100q, which makes neither a tensor nor a plain container", g.module+"."+g.name)
	}
	o := &object{class: g, args: args}
	if g == orderedDict {
		o.state = &dict{}
	}
	m.push(o)
	return nil
}

func (m *machine) build() error {
	state, err := m.pop()
	if err != nil {
		return err
	}
	into, err := m.top()
	if o, ok := into.(*object); ok && o.state == nil {
		o.state = state
	}
	return err
}
