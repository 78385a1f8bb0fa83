package schema

import (
	"math"
	"math/big"
	"regexp"
	"strconv"
	"strings"

	"sdworker/api/sdapi/pyjson"
)

// toInt is Python's int(v) for JSON values: a fraction is cut off, a text must
// be whole digits.
func toInt(v any) (any, bool) {
	switch v := v.(type) {
	case int64, *big.Int:
		return v, true
	case bool:
		if v {
			return int64(1), true
		}
		return int64(0), true
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return nil, false
		}
		if math.Abs(v) < 1<<62 {
			return int64(v), true
		}
		i, _ := big.NewFloat(v).Int(nil)
		return i, true
	case string:
		s := strings.TrimSpace(v)
		if !wholeNumber.MatchString(s) {
			return nil, false
		}
		s = strings.ReplaceAll(s, "_", "")
		if i, err := strconv.ParseInt(s, 10, 64); err == nil {
			return i, true
		}
		i, ok := new(big.Int).SetString(strings.TrimPrefix(s, "+"), 10)
		return i, ok
	}
	return nil, false
}

var (
	// Python allows single underscores between digits.
	wholeNumber = regexp.MustCompile(`^[+-]?\d+(_\d+)*$`)
	realNumber  = regexp.MustCompile(`^[+-]?(\d+(_\d+)*(\.(\d+(_\d+)*)?)?|\.\d+(_\d+)*)([eE][+-]?\d+(_\d+)*)?$`)
	noNumber    = regexp.MustCompile(`^(?i)[+-]?(inf|infinity|nan)$`)
)

// toFloat is Python's float(v) for JSON values.
func toFloat(v any) (any, bool) {
	if f, ok := toNumber(v); ok {
		return f, true
	}
	s, ok := v.(string)
	if !ok {
		return nil, false
	}
	s = strings.TrimSpace(s)
	if !realNumber.MatchString(s) && !noNumber.MatchString(s) {
		return nil, false
	}
	f, _ := strconv.ParseFloat(strings.ReplaceAll(s, "_", ""), 64) // out of range: infinity
	return f, true
}

// toNumber returns a number or boolean as a float.
func toNumber(v any) (float64, bool) {
	switch v := v.(type) {
	case int64:
		return float64(v), true
	case *big.Int:
		f, _ := new(big.Float).SetInt(v).Float64()
		return f, true
	case float64:
		return v, true
	case bool:
		if v {
			return 1, true
		}
		return 0, true
	}
	return 0, false
}

// toString is pydantic's str: numbers become their Python text.
func toString(v any) (any, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case int64:
		return strconv.FormatInt(v, 10), true
	case *big.Int:
		return v.String(), true
	case float64:
		return pyjson.Repr(v), true
	case bool:
		if v {
			return "True", true
		}
		return "False", true
	}
	return "", false
}

// toBool is pydantic's bool.
func toBool(v any) (value, ok bool) {
	if s, isText := v.(string); isText {
		switch strings.ToLower(s) {
		case "1", "on", "t", "true", "y", "yes":
			return true, true
		case "0", "off", "f", "false", "n", "no":
			return false, true
		}
		return false, false
	}
	n, isNumber := toNumber(v)
	return n == 1, isNumber && (n == 0 || n == 1)
}

// toDict is Python's dict(v) for JSON values: an object, or a list of pairs.
func toDict(v any) (*pyjson.Object, bool) {
	switch v := v.(type) {
	case *pyjson.Object:
		return v, true
	case string:
		return pyjson.NewObject(), v == ""
	case []any:
		o := pyjson.NewObject()
		for _, item := range v {
			pair, ok := item.([]any)
			if !ok || len(pair) != 2 {
				return nil, false
			}
			key, ok := toString(pair[0])
			if !ok {
				return nil, false
			}
			o.Set(key.(string), pair[1])
		}
		return o, true
	}
	return nil, false
}
