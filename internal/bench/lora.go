package bench

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"sdworker/formats/safetensors"
	"sdworker/inference"
	"sdworker/sd1"
)

// LoRAOptions say what LoRA measures. Zero values mean the defaults named here.
type LoRAOptions struct {
	Checkpoint string
	Width      int64 // of its UNet; 320
	Open       inference.OpenFunc
	Rank       int64         // of the factors; 128
	Budget     time.Duration // for each figure, roughly; 3 s
	Kind       string        // only those whose names begin so; "" for all
	Folder     string        // where the adapter files are kept; "" for nowhere
	Compare    string        // another build of the program, measured in turn with this one; "" for none
	Progress   io.Writer     // told what is being measured; nil for nobody
}

// LoRAReport is what applying adapters of each kind to all layers costs.
type LoRAReport struct {
	Machine Machine              `json:"machine"`
	Engine  inference.EngineInfo `json:"engine"`
	Rank    int64                `json:"rank"`
	Speed   float64              `json:"speed"` // multiplications a second of the engine's merging, 0 if it does not tell
	Kinds   []LoRATimes          `json:"kinds"`
}

// speedTeller is an engine that measures its own arithmetic.
type speedTeller interface {
	// MergeSpeed returns how many multiplications with addition a second merging does
	// with small matrices, on all threads.
	MergeSpeed(ctx context.Context) (float64, error)
}

// LoRATimes are the times of one kind, the file being in the page cache.
type LoRATimes struct {
	Kind     string  `json:"kind"`
	Bytes    int64   `json:"bytes"`
	Layers   int     `json:"layers"`
	Products float64 `json:"products"` // multiplications with addition that the formula takes
	First    float64 `json:"first"`    // application since the checkpoint was opened, in the first kind only

	Read   Series `json:"read"`   // of the file alone
	Apply  Series `json:"apply"`  // to the checkpoint's own weights
	Change Series `json:"change"` // of the strength
	Remove Series `json:"remove"`

	// Seconds of all cores together, which other programs on the machine touch less.
	ReadCPU   Series `json:"read_cpu"`
	ChangeCPU Series `json:"change_cpu"`

	// The other build's, nil without one and for a kind that it cannot apply.
	Other *LoRATimes `json:"other,omitempty"`
}

// loraKind makes the parts of a layer: a weight of some shape, [out,in] or
// [out,in,kernel,kernel], and counts the products of its formula.
type loraKind struct {
	name        string
	convolution bool // for these layers, too
	parts       func(shape []int64, rank int64) map[string][]int64
	products    func(shape []int64, rank int64) int64
}

// zeros are parts whose values are 0: switches.
var zeros = map[string]bool{"on_input": true}

// once is the number of products of an up and a down factor.
func once(shape []int64, rank int64) int64 { return product(shape) * rank }

func none([]int64, int64) int64 { return 0 }

var loraKinds = []loraKind{
	{"LoRA of linear layers", false, loraParts, once},
	{"LoCon", true, loraParts, once},
	{"LoCon with a core", true, func(shape []int64, rank int64) map[string][]int64 {
		parts := loraParts(shape, rank)
		if len(shape) == 4 && shape[2] > 1 {
			parts["lora_down.weight"] = []int64{rank, shape[1], 1, 1}
			parts["lora_mid.weight"] = []int64{rank, rank, shape[2], shape[3]}
		}
		return parts
	}, func(shape []int64, rank int64) int64 {
		if len(shape) == 4 && shape[2] > 1 {
			return once(shape, rank) + rank*rank*product(shape[1:])
		}
		return once(shape, rank)
	}},
	{"DoRA of linear layers", false, func(shape []int64, rank int64) map[string][]int64 {
		parts := loraParts(shape, rank)
		parts["dora_scale"] = append([]int64{shape[0], 1}, ones(shape)...)
		return parts
	}, once},
	{"DoRA, lengths of inputs", false, func(shape []int64, rank int64) map[string][]int64 {
		parts := loraParts(shape, rank)
		parts["dora_scale"] = append([]int64{1, shape[1]}, ones(shape)...)
		return parts
	}, once},
	{"LoHa of linear layers", false, func(shape []int64, rank int64) map[string][]int64 {
		n := product(shape[1:])
		return map[string][]int64{"hada_w1_a": {shape[0], rank}, "hada_w1_b": {rank, n}, "hada_w2_a": {shape[0], rank}, "hada_w2_b": {rank, n}}
	}, func(shape []int64, rank int64) int64 { return 2 * once(shape, rank) }},
	{"LoKr", true, func(shape []int64, rank int64) map[string][]int64 {
		a, b := side(shape[0], 16), side(shape[1], 16)
		return map[string][]int64{"lokr_w1": {a, b}, "lokr_w2": append([]int64{shape[0] / a, shape[1] / b}, shape[2:]...)}
	}, none},
	{"GLoRA of linear layers", false, func(shape []int64, rank int64) map[string][]int64 {
		return map[string][]int64{
			"a1.weight": {shape[1], rank}, "a2.weight": {rank, shape[1]}, "b1.weight": {shape[0], rank}, "b2.weight": {rank, shape[1]},
		}
	}, func(shape []int64, rank int64) int64 { return 3 * once(shape, rank) }},
	{"OFT", true, func(shape []int64, rank int64) map[string][]int64 {
		n := side(shape[0], rank)
		return map[string][]int64{"oft_blocks": {shape[0] / n, n, n}}
	}, func(shape []int64, rank int64) int64 { return product(shape) * side(shape[0], rank) }},
	{"BOFT", true, func(shape []int64, _ int64) map[string][]int64 {
		n, stages := butterfly(shape[0])
		return map[string][]int64{"oft_blocks": {stages, shape[0] / n, n, n}}
	}, func(shape []int64, _ int64) int64 {
		n, stages := butterfly(shape[0])
		return product(shape) * n * stages
	}},
	{"IA3", true, func(shape []int64, _ int64) map[string][]int64 {
		return map[string][]int64{"weight": {shape[0]}, "on_input": {}}
	}, none},
	{"full difference", true, func(shape []int64, _ int64) map[string][]int64 {
		return map[string][]int64{"diff": shape}
	}, none},
}

// butterfly is the block's side and the number of stages for a number of rows: their
// odd part twice, so that LyCORIS takes it, and at most four stages.
func butterfly(rows int64) (side, stages int64) {
	side = rows
	for side%2 == 0 {
		side /= 2
	}
	for side *= 2; side < 10 && rows%(2*side) == 0; {
		side *= 2
	}
	for stages = 1; stages < 4 && rows%(side<<stages) == 0; {
		stages++
	}
	return side, stages
}

func loraParts(shape []int64, rank int64) map[string][]int64 {
	return map[string][]int64{
		"lora_up.weight": append([]int64{shape[0], rank}, ones(shape)...), "lora_down.weight": append([]int64{rank}, shape[1:]...),
	}
}

// ones are the sides of a kernel of one place, for a convolution.
func ones(shape []int64) []int64 {
	return []int64{1, 1, 1, 1}[:len(shape)-2]
}

func product(sides []int64) int64 {
	n := int64(1)
	for _, s := range sides {
		n *= s
	}
	return n
}

// side is the largest divisor of n up to a size.
func side(n, most int64) int64 {
	for most = min(n, most); n%most != 0; {
		most--
	}
	return most
}

// LoRA measures applying, changing and removing adapters of all kinds.
func LoRA(ctx context.Context, o LoRAOptions) (*LoRAReport, error) {
	if o.Width == 0 {
		o.Width = sd1.UNetWidth
	}
	if o.Rank == 0 {
		o.Rank = 128
	}
	if o.Budget == 0 {
		o.Budget = 3 * time.Second
	}
	if o.Progress == nil {
		o.Progress = io.Discard
	}
	if o.Folder == "" {
		folder, err := os.MkdirTemp("", "lora")
		if err != nil {
			return nil, err
		}
		defer os.RemoveAll(folder)
		o.Folder = folder
	}
	engine, err := o.Open(ctx, o.Checkpoint, nil)
	if err != nil {
		return nil, err
	}
	defer engine.Close()
	applier, ok := engine.(inference.LoRAApplier)
	if !ok {
		return nil, errors.New("the engine applies no LoRAs")
	}
	r := &LoRAReport{Machine: ThisMachine(), Engine: engine.Info(), Rank: o.Rank}
	if e, ok := engine.(speedTeller); ok {
		if r.Speed, err = e.MergeSpeed(ctx); err != nil {
			return nil, err
		}
	}
	for _, kind := range loraKinds {
		if !strings.HasPrefix(kind.name, o.Kind) {
			continue
		}
		fmt.Fprintln(o.Progress, "measuring", kind.name)
		path := filepath.Join(o.Folder, strings.ReplaceAll(kind.name, " ", "-")+".safetensors")
		layers, products, err := writeLoRA(path, o.Width, o.Rank, kind)
		if err != nil {
			return nil, err
		}
		times, err := timeLoRA(ctx, applier, path, o.Budget)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", kind.name, err)
		}
		times.Kind, times.Layers, times.Products = kind.name, layers, float64(products)
		if o.Compare != "" {
			if times.Other, err = otherLoRA(ctx, o, kind.name); err != nil {
				fmt.Fprintln(o.Progress, o.Compare, "cannot do it:", err)
			}
		}
		fmt.Fprintf(o.Progress, "  changed in %.3f s, %.3f s of processor time\n", times.Change.Min, times.ChangeCPU.Min)
		r.Kinds = append(r.Kinds, *times)
	}
	return r, nil
}

// otherLoRA measures one kind with another build of the program.
func otherLoRA(ctx context.Context, o LoRAOptions, kind string) (*LoRATimes, error) {
	var errs bytes.Buffer
	cmd := exec.CommandContext(ctx, o.Compare, "bench", "lora", "--json", "--model", o.Checkpoint, "--kind", kind,
		"--rank", strconv.FormatInt(o.Rank, 10), "--budget", o.Budget.String())
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, errs.Bytes()[max(0, errs.Len()-200):])
	}
	var r LoRAReport
	if err := json.Unmarshal(out, &r); err != nil {
		return nil, err
	}
	for _, k := range r.Kinds {
		if k.Kind == kind {
			return &k, nil
		}
	}
	return nil, errors.New("it does not know the kind")
}

func timeLoRA(ctx context.Context, applier inference.LoRAApplier, path string, budget time.Duration) (*LoRATimes, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	set := func(loras ...inference.LoRA) (float64, error) {
		start := time.Now()
		reports, err := applier.SetLoRAs(ctx, loras)
		took := time.Since(start).Seconds()
		for _, r := range reports {
			if r.Note != "" {
				err = errors.New(r.Note)
			}
		}
		return took, err
	}
	var read, apply, change, remove, readCPU, changeCPU []float64
	for start := time.Now(); len(read) < minRuns+1 || time.Since(start) < budget && len(read) < maxRuns; {
		before := cpuSeconds()
		took, err := timed(path, false, func() error { return readAll(ctx, path) })
		if err != nil {
			return nil, err
		}
		read, readCPU = append(read, took), append(readCPU, cpuSeconds()-before)
		for _, step := range []struct {
			into  *[]float64
			loras []inference.LoRA
		}{
			{&apply, []inference.LoRA{{Path: path, UNet: 1, TextEncoder: 1}}},
			{&change, []inference.LoRA{{Path: path, UNet: 0.5, TextEncoder: 0.5}}},
			{&remove, nil},
		} {
			before := cpuSeconds()
			took, err := set(step.loras...)
			if err != nil {
				return nil, err
			}
			*step.into = append(*step.into, took)
			if step.into == &change {
				changeCPU = append(changeCPU, cpuSeconds()-before)
			}
		}
	}
	return &LoRATimes{ // the first round warms up
		Bytes: info.Size(), First: apply[0], Read: summarize(read[1:]), Apply: summarize(apply[1:]), Change: summarize(change[1:]), Remove: summarize(remove[1:]),
		ReadCPU: summarize(readCPU[1:]), ChangeCPU: summarize(changeCPU[1:]),
	}, nil
}

// cpuSeconds is what this process has used of all cores.
func cpuSeconds() float64 {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}

// writeLoRA writes an adapter in half precision for the layers of a network of some
// width, with small random values, and returns how many layers that are and how many
// multiplications merging takes.
func writeLoRA(path string, width, rank int64, kind loraKind) (layers int, products int64, err error) {
	var unet, text sd1.Net
	unet.UNet("lora_unet_", width, 4)
	text.CLIP("lora_te_text_model_")
	var list []safetensors.Tensor
	for _, p := range append(unet, text...) {
		if p.Role != sd1.Weight || !kind.convolution && len(p.Shape) > 2 && p.Shape[2] > 1 {
			continue
		}
		layers++
		products += kind.products(p.Shape, rank)
		module := strings.ReplaceAll(strings.TrimSuffix(p.Name, ".weight"), ".", "_")
		for role, shape := range kind.parts(p.Shape, rank) {
			list = append(list, safetensors.Tensor{Name: module + "." + role, DType: safetensors.F16, Shape: shape})
		}
	}
	header, err := safetensors.Layout(nil, list)
	if err != nil {
		return 0, 0, err
	}
	f, err := os.Create(path)
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := header.WriteTo(f); err != nil {
		return 0, 0, err
	}
	random := rand.New(rand.NewPCG(1, 1))
	block := make([]byte, 0, 1<<20)
	for len(block) < cap(block) {
		half := safetensors.FloatToHalf(float32(random.NormFloat64()) / 64)
		block = binary.LittleEndian.AppendUint16(block, half)
	}
	for left := header.DataSize(); left > 0; left -= int64(len(block)) {
		if _, err := io.Copy(f, bytes.NewReader(block[:min(left, int64(len(block)))])); err != nil {
			return 0, 0, err
		}
	}
	for _, t := range header.Tensors {
		if zeros[t.Name[strings.LastIndexByte(t.Name, '.')+1:]] {
			if _, err := f.WriteAt(make([]byte, t.Size), header.DataStart+t.Offset); err != nil {
				return 0, 0, err
			}
		}
	}
	return layers, products, nil
}
