package clip

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"strings"
)

// Values of a pickle: nil, bool, int, float64, string, tuple, *list, *dict, global, and
// what the caller's functions make.
type (
	tuple  []any
	list   struct{ items []any }
	global string // module and name with a dot between

	// dict keeps string keys only: nothing in an embedding has others.
	dict map[string]any
)

// unpickler reads a pickle without running any code of it: what a pickle calls or loads
// from outside goes to the two functions, which know what an embedding may ask for.
type unpickler struct {
	raw        []byte
	pos        int
	stack      []any
	marks      []int
	memo       map[int]any
	call       func(function global, arguments tuple) (any, error)
	persistent func(id any) (any, error)
}

var errPickle = errors.New("damaged pickle")

// pickle opcodes that PyTorch writes, protocols 2 to 4.
const (
	opMark            = '('
	opStop            = '.'
	opBinFloat        = 'G'
	opBinInt          = 'J'
	opBinInt1         = 'K'
	opBinInt2         = 'M'
	opNone            = 'N'
	opBinPersID       = 'Q'
	opReduce          = 'R'
	opBinUnicode      = 'X'
	opEmptyList       = ']'
	opAppend          = 'a'
	opBuild           = 'b'
	opGlobal          = 'c'
	opAppends         = 'e'
	opBinGet          = 'h'
	opLongBinGet      = 'j'
	opBinPut          = 'q'
	opLongBinPut      = 'r'
	opSetItem         = 's'
	opTuple           = 't'
	opSetItems        = 'u'
	opEmptyTuple      = ')'
	opEmptyDict       = '}'
	opProto           = 0x80
	opNewObj          = 0x81
	opTuple1          = 0x85
	opTuple2          = 0x86
	opTuple3          = 0x87
	opNewTrue         = 0x88
	opNewFalse        = 0x89
	opLong1           = 0x8a
	opShortBinUnicode = 0x8c
	opStackGlobal     = 0x93
	opMemoize         = 0x94
	opFrame           = 0x95
)

// run reads to the end of the pickle and returns its value. A damaged pickle, whose
// opcodes miss bytes, stack or memo, makes one of the helpers panic with errPickle.
func (u *unpickler) run() (value any, err error) {
	defer func() {
		r := recover()
		if damage, _ := r.(error); errors.Is(damage, errPickle) {
			err = errPickle
		} else if r != nil {
			panic(r)
		}
	}()
	u.memo = map[int]any{}
	for {
		op := u.take(1)[0]
		if op == opStop {
			return u.pop(), nil
		}
		if err := u.step(op); err != nil {
			return nil, err
		}
	}
}

func (u *unpickler) step(op byte) error {
	switch op {
	case opProto:
		u.take(1)
	case opFrame:
		u.take(8)
	case opMark:
		u.marks = append(u.marks, len(u.stack))
	case opNone:
		u.push(nil)
	case opNewTrue, opNewFalse:
		u.push(op == opNewTrue)
	case opBinInt:
		u.push(int(int32(binary.LittleEndian.Uint32(u.take(4)))))
	case opBinInt1:
		u.push(int(u.take(1)[0]))
	case opBinInt2:
		u.push(int(binary.LittleEndian.Uint16(u.take(2))))
	case opLong1:
		u.push(u.long())
	case opBinFloat:
		u.push(math.Float64frombits(binary.BigEndian.Uint64(u.take(8))))
	case opBinUnicode:
		u.push(string(u.take(u.uint32())))
	case opShortBinUnicode:
		u.push(string(u.take(int(u.take(1)[0]))))
	case opGlobal:
		module, name := u.line(), u.line()
		u.push(global(module + "." + name))
	case opStackGlobal:
		name, module := u.popString(), u.popString()
		u.push(global(module + "." + name))
	case opBinPut:
		u.memo[int(u.take(1)[0])] = u.top()
	case opLongBinPut:
		u.memo[u.uint32()] = u.top()
	case opMemoize:
		u.memo[len(u.memo)] = u.top()
	case opBinGet:
		u.push(u.remembered(int(u.take(1)[0])))
	case opLongBinGet:
		u.push(u.remembered(u.uint32()))
	default:
		return u.stepContainer(op)
	}
	return nil
}

// stepContainer does the opcodes that make or fill containers and objects.
func (u *unpickler) stepContainer(op byte) error {
	switch op {
	case opEmptyTuple:
		u.push(tuple{})
	case opTuple1, opTuple2, opTuple3:
		u.push(tuple(u.popN(int(op-opTuple1) + 1)))
	case opTuple:
		u.push(tuple(u.popMarked()))
	case opEmptyList:
		u.push(&list{})
	case opAppend:
		u.extend([]any{u.pop()})
	case opAppends:
		u.extend(u.popMarked())
	case opEmptyDict:
		u.push(dict{})
	case opSetItem:
		u.set(u.popN(2))
	case opSetItems:
		u.set(u.popMarked())
	case opReduce, opNewObj:
		arguments, ok1 := u.pop().(tuple)
		function, ok2 := u.pop().(global)
		if !ok1 || !ok2 {
			return errPickle
		}
		value, err := u.call(function, arguments)
		if err != nil {
			return err
		}
		u.push(value)
	case opBuild:
		u.build(u.pop())
	case opBinPersID:
		value, err := u.persistent(u.pop())
		if err != nil {
			return err
		}
		u.push(value)
	default:
		return fmt.Errorf("pickle opcode %#x is not supported", op)
	}
	return nil
}

// build gives an object its state: of a dict object, its entries.
func (u *unpickler) build(state any) {
	object, ok1 := u.top().(dict)
	entries, ok2 := state.(dict)
	if ok1 && ok2 {
		maps.Copy(object, entries)
	}
}

func (u *unpickler) extend(items []any) {
	l, ok := u.top().(*list)
	if !ok {
		panic(errPickle)
	}
	l.items = append(l.items, items...)
}

func (u *unpickler) set(items []any) {
	d, ok := u.top().(dict)
	if !ok || len(items)%2 != 0 {
		panic(errPickle)
	}
	for i := 0; i < len(items); i += 2 {
		if key, ok := items[i].(string); ok {
			d[key] = items[i+1]
		}
	}
}

func (u *unpickler) take(n int) []byte {
	if n < 0 || n > len(u.raw)-u.pos {
		panic(errPickle)
	}
	u.pos += n
	return u.raw[u.pos-n : u.pos]
}

func (u *unpickler) uint32() int { return int(binary.LittleEndian.Uint32(u.take(4))) }

// long reads a little-endian integer in two's complement, of at most 8 bytes.
func (u *unpickler) long() int {
	raw := u.take(int(u.take(1)[0]))
	if len(raw) > 8 {
		panic(errPickle)
	}
	var v uint64
	for i, b := range raw {
		v |= uint64(b) << (8 * i)
	}
	unused := 64 - 8*len(raw)
	return int(int64(v<<unused) >> unused)
}

func (u *unpickler) line() string {
	line, _, ok := strings.Cut(string(u.raw[u.pos:]), "\n")
	if !ok {
		panic(errPickle)
	}
	u.pos += len(line) + 1
	return line
}

func (u *unpickler) push(value any) { u.stack = append(u.stack, value) }

func (u *unpickler) top() any {
	if len(u.stack) == 0 {
		panic(errPickle)
	}
	return u.stack[len(u.stack)-1]
}

func (u *unpickler) pop() any { return u.popN(1)[0] }

func (u *unpickler) popString() string {
	s, ok := u.pop().(string)
	if !ok {
		panic(errPickle)
	}
	return s
}

// popN pops the last n values, in the order in which they were pushed.
func (u *unpickler) popN(n int) []any {
	if n > len(u.stack) {
		panic(errPickle)
	}
	at := len(u.stack) - n
	values := append([]any(nil), u.stack[at:]...)
	u.stack = u.stack[:at]
	return values
}

// popMarked pops what was pushed since the last mark.
func (u *unpickler) popMarked() []any {
	if len(u.marks) == 0 {
		panic(errPickle)
	}
	mark := u.marks[len(u.marks)-1]
	u.marks = u.marks[:len(u.marks)-1]
	return u.popN(max(0, len(u.stack)-mark))
}

func (u *unpickler) remembered(key int) any {
	value, ok := u.memo[key]
	if !ok {
		panic(errPickle)
	}
	return value
}
