package generation

import (
	"fmt"
	"math"
	"slices"

	"sdworker/api/sdapi/exception"
	"sdworker/api/sdapi/pyjson"
	"sdworker/api/sdapi/schema"
	"sdworker/inference"
)

// stagedFreeUName is the title of the extension ljleb/sd-webui-freeu.
const stagedFreeUName = "freeu"

// freeUFields are the arguments of Forge's FreeU, and then the version of FreeU that is
// meant.
var freeUFields = []schema.Field{
	{Name: "Enabled", Kind: schema.Boolean, Default: false},
	{Name: "B1", Kind: schema.Number, Default: 1.01},
	{Name: "B2", Kind: schema.Number, Default: 1.02},
	{Name: "S1", Kind: schema.Number, Default: 0.99},
	{Name: "S2", Kind: schema.Number, Default: 0.95},
	{Name: "Start step", Kind: schema.Number, Default: 0.0},
	{Name: "End step", Kind: schema.Number, Default: 1.0},
	{Name: "Version", Kind: schema.Integer, Default: int64(2)},
}

// readFreeU reads the arguments of Forge's FreeU, and writes its texts.
func (c *Call) readFreeU(args []any) error {
	v, err := argValues(freeUName, freeUFields, args)
	if err != nil || v[0] != true {
		return err
	}
	f := inference.TimedFreeU{
		FreeU: inference.SimpleFreeU(int(v[7].(int64)), FloatOf(v[1]), FloatOf(v[2]), FloatOf(v[3]), FloatOf(v[4])),
		Start: FloatOf(v[5]), End: FloatOf(v[6]),
	}
	if err := f.Check(); err != nil {
		return exception.Crash("ValueError", "%s: %s", freeUName, err.Error())
	}
	c.guidance.freeU = f
	var silent []int
	if f.Version == 2 { // the only one of Forge
		silent = []int{7}
	}
	c.tellArgs(freeUName, v, silent...)
	return nil
}

// freeUStage are the values of a stage of sd-webui-freeu in its order, with their
// defaults.
var freeUStage = []struct {
	name string
	def  float64
}{
	{"backbone_factor", 1}, {"skip_factor", 1}, {"backbone_offset", 0}, {"backbone_width", 0.5}, {"skip_cutoff", 0}, {"skip_high_end_factor", 1},
}

const freeUStages = 3

// freeUState are the values before the stages: keys of the extension's object and, with
// other defaults, the first arguments of its list.
var freeUState = []string{"enable", "start_ratio", "stop_ratio", "transition_smoothness", "version", "stage_infos"}

// stagedFreeUFields are the arguments of its list, with the defaults of its page: the first
// preset, "SD1.4 Recommendations".
func stagedFreeUFields() []schema.Field {
	list := []schema.Field{
		{Name: "Enable", Kind: schema.Boolean, Default: false},
		{Name: "Start At Step", Kind: schema.Number, Default: int64(0)},
		{Name: "Stop At Step", Kind: schema.Number, Default: int64(1)},
		{Name: "Transition Smoothness", Kind: schema.Number, Default: int64(0)},
		{Name: "version", Kind: schema.String, Default: "Version 2"},
	}
	preset := [freeUStages][2]float64{{1.2, 0.9}, {1.4, 0.2}, {1, 1}}
	labels := []string{"Backbone %d Scale", "Skip %d Scale", "Backbone %d Offset", "Backbone %d Width", "Skip %d Cutoff", "Skip %d High End Scale"}
	for stage, factors := range preset {
		for i, label := range labels {
			f := schema.Field{Name: fmt.Sprintf(label, stage+1), Kind: schema.Number, Default: freeUStage[i].def}
			if i < len(factors) {
				f.Default = factors[i]
			}
			list = append(list, f)
		}
	}
	return list
}

// readStagedFreeU reads what sd-webui-freeu takes over the API: one object, or the list of
// its page. It writes its texts.
func (c *Call) readStagedFreeU(args []any) error {
	state, err := stagedFreeU(args)
	if err != nil || state["enable"] != true {
		return err
	}
	stages, err := freeUStageValues(state["stage_infos"])
	if err != nil {
		return err
	}
	f := inference.TimedFreeU{ByCalls: true}
	f.Start, f.StartCall, err = freeUTime(state["start_ratio"])
	if err == nil {
		f.End, f.EndCall, err = freeUTime(state["stop_ratio"])
	}
	if err == nil {
		f.Smoothness, _, err = freeUTime(state["transition_smoothness"])
	}
	if err != nil {
		return err
	}
	version := "1"
	switch state["version"] {
	case "2", "Version 2":
		version = "2"
	}
	f.Version = int(version[0] - '0')
	for i, values := range stages {
		f.Stages[i] = inference.FreeUStage{
			Backbone: FloatOf(values[0]), Window: freeUWindow(FloatOf(values[3]), FloatOf(values[2])),
			SkipLow: FloatOf(values[1]), SkipHigh: FloatOf(values[5]), Cutoff: FloatOf(values[4]),
		}
	}
	if err := f.Check(); err != nil {
		return exception.Crash("ValueError", "%s: %s", stagedFreeUName, err.Error())
	}
	c.guidance.freeU = f
	text, err := freeUStageText(stages)
	if err != nil {
		return err
	}
	c.addText("FreeU Stages", text)
	c.addText("FreeU Schedule", fmt.Sprintf("%s, %s, %s", numberText(state["start_ratio"]), numberText(state["stop_ratio"]), numberText(state["transition_smoothness"])))
	c.addText("FreeU Version", version)
	return nil
}

// stagedFreeU reads the arguments into the keys of freeUState.
func stagedFreeU(args []any) (map[string]any, error) {
	state := map[string]any{"enable": true, "start_ratio": 0.0, "stop_ratio": 1.0, "transition_smoothness": 0.0, "version": "1", "stage_infos": []any(nil)}
	if len(args) > 0 {
		switch first := args[0].(type) {
		case bool:
		case *pyjson.Object:
			for key, v := range first.All() {
				if !slices.Contains(freeUState, key) {
					return nil, exception.Crash("TypeError", "State.__init__() got an unexpected keyword argument '%s'", key)
				}
				state[key] = v
			}
			return state, nil
		default:
			return nil, exception.Crash("TypeError", "Unrecognized args sequence starting with %s", pyjson.Quoted(fmt.Sprint(first)))
		}
	}
	fields := stagedFreeUFields()
	own := len(freeUState) - 1
	for i, key := range freeUState[:own] {
		state[key] = fields[i].Default
		if i < len(args) && args[i] != nil {
			state[key] = args[i]
		}
		if n, whole := state[key].(int64); whole {
			state[key] = float64(n)
		}
	}
	var stages []any
	for i := own; i < max(len(args), len(fields)); i++ {
		if i < len(args) {
			stages = append(stages, args[i])
		} else {
			stages = append(stages, fields[i].Default)
		}
	}
	state["stage_infos"] = stages
	return state, nil
}

// freeUTime reads a number; a whole one counts steps.
func freeUTime(v any) (at float64, counts bool, err error) {
	switch v := v.(type) {
	case int64:
		return float64(v), true, nil
	case float64:
		return v, false, nil
	}
	return 0, false, exception.Crash("TypeError", "%s: start, stop and smoothness are numbers, not %s", stagedFreeUName, pyjson.Quoted(fmt.Sprint(v)))
}

// freeUStageValues reads the stages. Each is an object, or its numbers stand in the list
// one after another.
func freeUStageValues(v any) ([][]any, error) {
	list, ok := v.([]any)
	if !ok && v != nil {
		return nil, exception.Crash("TypeError", "%s: stage_infos must be a list", stagedFreeUName)
	}
	var stages [][]any
	for len(list) > 0 && len(stages) < freeUStages {
		values := make([]any, len(freeUStage))
		for i, f := range freeUStage {
			values[i] = f.def
		}
		if o, ok := list[0].(*pyjson.Object); ok {
			list = list[1:]
			for key, v := range o.All() {
				i := slices.IndexFunc(freeUStage, func(f struct {
					name string
					def  float64
				},
				) bool {
					return f.name == key
				})
				if i < 0 {
					return nil, exception.Crash("TypeError", "StageInfo.__init__() got an unexpected keyword argument '%s'", key)
				}
				values[i] = v
			}
		} else {
			n := copy(values, list)
			list = list[n:]
		}
		for i, v := range values {
			switch v.(type) {
			case int64, float64:
			case nil:
				return nil, exception.Crash("TypeError", "%s: %s is None, want a number", stagedFreeUName, freeUStage[i].name)
			default:
				return nil, exception.Crash("TypeError", "%s: %s is %s, want a number", stagedFreeUName, freeUStage[i].name, pyjson.Quoted(fmt.Sprint(v)))
			}
		}
		stages = append(stages, values)
	}
	for len(stages) < freeUStages {
		stages = append(stages, []any{1.0, 1.0, 0.0, 0.5, 0.0, 1.0})
	}
	return stages, nil
}

// freeUWindow is the extension's ratio_to_region.
func freeUWindow(width, offset float64) inference.FreeUWindow {
	if width < 0 {
		offset, width = offset+width, -width
	}
	width = min(width, 1)
	if offset < 0 {
		offset = 1 + offset - math.Trunc(offset)
	}
	offset = math.Mod(offset, 1)
	if width+offset <= 1 {
		return inference.FreeUWindow{From: offset, To: width + offset, Closed: true}
	}
	return inference.FreeUWindow{From: width + offset - 1, To: offset, Inverted: true, Closed: true}
}

// freeUStageText is the JSON in infotexts. It has only values that differ from the
// defaults, and ends with the last stage that has any.
func freeUStageText(stages [][]any) (string, error) {
	list := []any{}
	filled := 0
	for _, values := range stages {
		o := pyjson.NewObject()
		for i, f := range freeUStage {
			if FloatOf(values[i]) != f.def {
				o.Set(f.name, values[i])
			}
		}
		if list = append(list, o); o.Len() > 0 {
			filled = len(list)
		}
	}
	text, err := pyjson.Marshal(list[:filled], pyjson.Dumps)
	return string(text), err
}

// numberText is Python's str() of a number.
func numberText(v any) string {
	if f, ok := v.(float64); ok {
		return pyjson.Repr(f)
	}
	return fmt.Sprint(v)
}
