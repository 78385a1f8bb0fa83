// Package enginetest has what a test needs around inference.Engine: Fake, a
// scripted engine of cheap analytic networks, and Run, the suite that every
// engine must pass.
package enginetest

import (
	"context"
	"slices"
	"sync"
	"time"

	"sdworker/fault"
	"sdworker/inference"
	"sdworker/inference/detect"
	"sdworker/inference/imageio"
)

// Op names one kind of engine call.
type Op string

// The calls that a Fake records.
const (
	OpEncodeText    Op = "encode text"
	OpPredictNoise  Op = "predict noise"
	OpEncode        Op = "encode"
	OpDecode        Op = "decode"
	OpSetLoRAs      Op = "set loras"
	OpSetVAE        Op = "set vae"
	OpDecodePreview Op = "decode preview"
	OpUpscale       Op = "upscale"
	OpDetect        Op = "detect"
	OpImagePrompt   Op = "image prompt"
	OpDepth         Op = "depth"
)

// Call is one recorded engine call. The field that belongs to Op is set; its
// slices are copies.
type Call struct {
	Op    Op
	Index int // how many calls of the same Op came before

	Text   inference.TextInput
	UNet   inference.UNetInput
	Pixels inference.PixelInput
	Latent inference.LatentInput // decode and decode preview
	LoRAs  []inference.LoRA
	Path   string // file of set vae, decode preview, upscale and detect
	H, W   int    // picture size of upscale and detect
}

// Hook runs before a call does its work, outside any lock. An error is returned
// to the caller in place of a result.
type Hook func(ctx context.Context, call Call) error

// Fake is an Engine of analytic networks: deterministic, in microseconds, each
// output depending on every input that the real network heeds. Each row of a
// batch is computed alone, so batches equal singles exactly. Its UNet pulls the
// latent towards a pattern that the context selects, so that samplers converge
// and different prompts give different pictures.
//
// The zero value is ready to use. Set the fields before the first call. Unlike
// other engines a Fake may be used from several goroutines, and counts how many
// were inside at once.
type Fake struct {
	Description inference.EngineInfo            // zero fields take plausible values
	Before      Hook                            // nil: nothing
	Factor      int                             // enlargement of UpscalePixels, 0 = 4
	LoRAReports map[string]inference.LoRAReport // by path
	Forget      bool                            // keep no record of the calls, whose inputs fill the memory of long runs
	Objects     []detect.Found                  // what Detect finds in every picture, the most confident first

	mu       sync.Mutex
	calls    []Call
	counts   map[Op]int
	active   state
	files    map[string]*weights // by path
	closed   bool
	inside   int
	parallel int
	wg       sync.WaitGroup
}

var (
	_ inference.Engine         = (*Fake)(nil)
	_ inference.LoRAApplier    = (*Fake)(nil)
	_ inference.VAESwitcher    = (*Fake)(nil)
	_ inference.PreviewDecoder = (*Fake)(nil)
	_ inference.PixelUpscaler  = (*Fake)(nil)
	_ inference.ObjectDetector = (*Fake)(nil)
	_ inference.ImagePrompter  = (*Fake)(nil)
	_ inference.DepthEstimator = (*Fake)(nil)
	_ inference.FileKeeper     = (*Fake)(nil)
)

// FailAt returns a Hook that fails the call of kind op with the given index.
func FailAt(op Op, index int, err error) Hook {
	return func(_ context.Context, c Call) error {
		if c.Op == op && c.Index == index {
			return err
		}
		return nil
	}
}

// BlockAt returns a Hook that holds the call of kind op with the given index
// until its context ends. It closes entered, unless nil, when the call is there.
func BlockAt(op Op, index int, entered chan<- struct{}) Hook {
	return func(ctx context.Context, c Call) error {
		if c.Op != op || c.Index != index {
			return nil
		}
		if entered != nil {
			close(entered)
		}
		<-ctx.Done()
		return fault.Stopped(ctx, string(op))
	}
}

// Delay returns a Hook that makes each call of kind op, or of any kind if op is
// "", take at least d.
func Delay(op Op, d time.Duration) Hook {
	return func(ctx context.Context, c Call) error {
		if op != "" && c.Op != op {
			return nil
		}
		select {
		case <-time.After(d):
			return nil
		case <-ctx.Done():
			return fault.Stopped(ctx, string(c.Op))
		}
	}
}

// Hooks returns a Hook that runs each of hooks until one fails.
func Hooks(hooks ...Hook) Hook {
	return func(ctx context.Context, c Call) error {
		for _, h := range hooks {
			if err := h(ctx, c); err != nil {
				return err
			}
		}
		return nil
	}
}

// Calls returns the recorded calls of the given kinds in order, all if none.
func (f *Fake) Calls(ops ...Op) []Call {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []Call
	for _, c := range f.calls {
		if len(ops) == 0 || slices.Contains(ops, c.Op) {
			out = append(out, c)
		}
	}
	return out
}

// Reset forgets the recorded calls and starts Call.Index at 0 again.
func (f *Fake) Reset() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls, f.counts, f.parallel = nil, nil, 0
}

// MaxParallel returns the largest number of calls that were in progress at once;
// more than 1 breaks the contract of inference.Engine.
func (f *Fake) MaxParallel() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.parallel
}

// Closed reports whether Close was called.
func (f *Fake) Closed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.closed
}

// Info returns Description with its zero fields filled in.
func (f *Fake) Info() inference.EngineInfo {
	d := f.Description
	if d.Checkpoint == "" {
		d.Checkpoint = "/models/Stable-diffusion/fake.safetensors"
	}
	if d.UNetChannels == 0 {
		d.UNetChannels = inference.LatentChannels
	}
	if d.Device == "" {
		d.Device = "Fake"
	}
	if d.Backend == "" {
		d.Backend = "fake"
	}
	if d.EngineVersion == "" {
		d.EngineVersion = "fake"
	}
	return d
}

// EncodeText implements inference.Engine.
func (f *Fake) EncodeText(ctx context.Context, in inference.TextInput) ([]float32, error) {
	in = cloneText(in)
	st, done, err := f.begin(ctx, Call{Op: OpEncodeText, Text: in}, in.Check)
	if err != nil {
		return nil, err
	}
	defer done()
	return encodeText(in, st.loras), nil
}

// PredictNoise implements inference.Engine.
func (f *Fake) PredictNoise(ctx context.Context, in inference.UNetInput) ([]float32, error) {
	in = cloneUNet(in)
	info := f.Info()
	st, done, err := f.begin(ctx, Call{Op: OpPredictNoise, UNet: in}, func() error { return in.Check(info.UNetChannels) })
	if err != nil {
		return nil, err
	}
	defer done()
	var controls []uint64
	f.mu.Lock()
	for _, u := range in.Control {
		controls = append(controls, f.read(u.Model).seed)
	}
	f.mu.Unlock()
	return predictNoise(in, info, st, controls), nil
}

// Encode implements inference.Engine.
func (f *Fake) Encode(ctx context.Context, in inference.PixelInput) ([]float32, error) {
	in.Pixels = slices.Clone(in.Pixels)
	st, done, err := f.begin(ctx, Call{Op: OpEncode, Pixels: in}, in.Check)
	if err != nil {
		return nil, err
	}
	defer done()
	return encode(in, st.vae), nil
}

// Decode implements inference.Engine.
func (f *Fake) Decode(ctx context.Context, in inference.LatentInput) ([]float32, error) {
	in.Latent = slices.Clone(in.Latent)
	st, done, err := f.begin(ctx, Call{Op: OpDecode, Latent: in}, in.Check)
	if err != nil {
		return nil, err
	}
	defer done()
	return decode(in, st.vae), nil
}

// SetHypernets implements inference.HypernetApplier.
func (f *Fake) SetHypernets(_ context.Context, list []inference.Hypernet) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.active.hypers = slices.Clone(list)
	return nil
}

// Hypernets are the hypernetworks that were set last.
func (f *Fake) Hypernets() []inference.Hypernet {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.active.hypers
}

// SetLoRAs implements inference.LoRAApplier, as a real engine does: the list that
// is set already is no call, one that is done succeeds even if ctx has ended
// meanwhile, and a failure takes all adapters out.
func (f *Fake) SetLoRAs(ctx context.Context, loras []inference.LoRA) ([]inference.LoRAReport, error) {
	loras = slices.Clone(loras)
	reports := make([]inference.LoRAReport, len(loras))
	for i, l := range loras {
		reports[i] = f.LoRAReports[l.Path]
	}
	f.mu.Lock()
	set := f.isSet(loras)
	f.mu.Unlock()
	if set {
		return reports, nil
	}
	call := Call{Op: OpSetLoRAs, LoRAs: loras}
	_, done, err := f.enter(ctx, &call)
	if err != nil {
		return nil, err
	}
	defer done()
	err = f.before(ctx, call)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.active.loras = nil
	if err != nil {
		return nil, err
	}
	for _, l := range loras {
		f.active.loras = append(f.active.loras, adapter{l, f.read(l.Path).seed})
	}
	return reports, nil
}

// SetVAE implements inference.VAESwitcher; see SetLoRAs. A failure leaves the VAE
// as it was.
func (f *Fake) SetVAE(ctx context.Context, path string) error {
	f.mu.Lock()
	set := path == f.active.vaePath && (path == "" || !f.files[path].stale)
	f.mu.Unlock()
	if set {
		return nil
	}
	_, done, err := f.begin(ctx, Call{Op: OpSetVAE, Path: path}, nil)
	if err != nil {
		return err
	}
	defer done()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.active.vaePath, f.active.vae = path, f.read(path).seed
	return nil
}

// DecodePreview implements inference.PreviewDecoder.
func (f *Fake) DecodePreview(ctx context.Context, taesd string, latent []float32, h, w int) ([]float32, error) {
	in := inference.LatentInput{Latent: slices.Clone(latent), H: h, W: w}
	_, done, err := f.begin(ctx, Call{Op: OpDecodePreview, Latent: in, Path: taesd}, in.Check)
	if err != nil {
		return nil, err
	}
	defer done()
	for i := range in.Latent {
		in.Latent[i] /= inference.VAEScale
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return decode(in, f.read(taesd).seed), nil
}

// UpscalePixels implements inference.PixelUpscaler.
func (f *Fake) UpscalePixels(ctx context.Context, model inference.UpscalerModel, pixels []float32, h, w int) ([]float32, int, error) {
	_, done, err := f.begin(ctx, Call{Op: OpUpscale, Path: model.Path, H: h, W: w}, func() error {
		return inference.CheckPixels("upscale", pixels, h, w)
	})
	if err != nil {
		return nil, 0, err
	}
	defer done()
	factor := f.Factor
	if factor == 0 {
		factor = 4
	}
	return repeatPixels(pixels, h, w, factor), factor, nil
}

// ImagePrompt implements inference.ImagePrompter: one number for each layer's keys and
// values, of the files and, unless it is for no picture, of the picture.
func (f *Fake) ImagePrompt(ctx context.Context, in inference.ImagePromptInput) (inference.ImagePrompt, error) {
	_, done, err := f.begin(ctx, Call{Op: OpImagePrompt, Path: in.Adapter, Pixels: inference.PixelInput{Pixels: slices.Clone(in.Pixels)}}, nil)
	if err != nil {
		return inference.ImagePrompt{}, err
	}
	defer done()
	f.mu.Lock()
	defer f.mu.Unlock()
	file := unit(f.read(in.Adapter).seed + 3*f.read(in.Encoder).seed)
	var picture float32
	for i, v := range in.Pixels {
		picture += v * unit(uint64(i)) / float32(len(in.Pixels))
	}
	const values = 2 * inference.ImageLayers
	return inference.ImagePrompt{
		Tokens: 1, Channels: slices.Repeat([]int{1}, inference.ImageLayers),
		Seen: slices.Repeat([]float32{1 + file + picture}, values), Unseen: slices.Repeat([]float32{file / 2}, values),
	}, nil
}

// Depth implements inference.DepthEstimator: what is bright and low is near.
func (f *Fake) Depth(ctx context.Context, in inference.DepthInput) ([]float32, error) {
	_, done, err := f.begin(ctx, Call{Op: OpDepth, Path: in.Model, H: in.H, W: in.W}, func() error {
		return inference.CheckPixels("depth", in.Pixels, in.H, in.W)
	})
	if err != nil {
		return nil, err
	}
	defer done()
	out := slices.Clone(in.Pixels[:in.H*in.W])
	for i := range out {
		out[i] += float32(i) / float32(len(out))
	}
	return out, nil
}

// Detect implements inference.ObjectDetector.
func (f *Fake) Detect(ctx context.Context, model string, m imageio.RGB, confidence float64) ([]detect.Found, error) {
	_, done, err := f.begin(ctx, Call{Op: OpDetect, Path: model, H: m.H, W: m.W}, nil)
	if err != nil {
		return nil, err
	}
	defer done()
	return slices.DeleteFunc(slices.Clone(f.Objects), func(o detect.Found) bool { return float64(o.Confidence) <= confidence }), nil
}

// Close waits for calls in progress. Later calls fail with Broken.
func (f *Fake) Close() error {
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	f.wg.Wait()
	return nil
}

// begin records a call, checks its input and runs the hook. The caller must call
// done when err is nil.
func (f *Fake) begin(ctx context.Context, c Call, check func() error) (st state, done func(), err error) {
	st, done, err = f.enter(ctx, &c)
	if err != nil {
		return st, nil, err
	}
	if check != nil {
		err = check()
	}
	if err == nil {
		err = f.before(ctx, c)
	}
	if err != nil {
		done()
		return st, nil, err
	}
	return st, done, nil
}

func (f *Fake) before(ctx context.Context, c Call) error {
	if f.Before == nil {
		return nil
	}
	return f.Before(ctx, c)
}

// enter records a call, unless ctx has ended or the engine is closed.
func (f *Fake) enter(ctx context.Context, c *Call) (st state, done func(), err error) {
	if err := ctx.Err(); err != nil {
		return st, nil, fault.Stopped(ctx, string(c.Op))
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return st, nil, fault.Errorf(fault.Broken, string(c.Op), "the engine is closed")
	}
	if f.counts == nil {
		f.counts = map[Op]int{}
	}
	c.Index = f.counts[c.Op]
	f.counts[c.Op]++
	if !f.Forget {
		f.calls = append(f.calls, *c)
	}
	f.inside++
	f.parallel = max(f.parallel, f.inside)
	f.wg.Add(1)
	done = func() {
		f.mu.Lock()
		f.inside--
		f.mu.Unlock()
		f.wg.Done()
	}
	f.active.checkpoint = f.read(f.Description.Checkpoint).seed
	return f.active, done, nil
}

func cloneText(in inference.TextInput) inference.TextInput {
	in.Chunks = slices.Clone(in.Chunks)
	in.Vectors = slices.Clone(in.Vectors)
	for i := range in.Vectors {
		in.Vectors[i] = slices.Clone(in.Vectors[i])
	}
	return in
}

func cloneUNet(in inference.UNetInput) inference.UNetInput {
	in.Latent = slices.Clone(in.Latent)
	in.Timestep = slices.Clone(in.Timestep)
	in.Context = slices.Clone(in.Context)
	in.Control = slices.Clone(in.Control)
	for i := range in.Control {
		c := &in.Control[i]
		c.Hint, c.Rows, c.Layers = slices.Clone(c.Hint), slices.Clone(c.Rows), slices.Clone(c.Layers)
	}
	in.Images = slices.Clone(in.Images)
	return in
}
