package inference

import (
	"context"
	"sync"
	"time"

	"sdworker/fault"
	"sdworker/inference/batch"
	"sdworker/inference/detect"
	"sdworker/inference/imageio"
	"sdworker/internal/fileid"
)

// model is a loaded checkpoint. Which VAE and adapters act on it, its engine knows.
type model struct {
	path  string
	eng   Engine
	conds *condCache
	calls *batch.Rendezvous[*unetCall]
	rules *sharing

	mu     sync.Mutex
	failed error // with which the engine broke, for all jobs that still use it
}

func newModel(path string, eng Engine, rules *sharing) *model {
	m := &model{path: path, eng: eng, conds: newCondCache(), rules: rules}
	m.calls = batch.NewRendezvous(batch.Rules[*unetCall]{
		Group: m.rules.group,
		Run:   func(ctx context.Context, calls []*unetCall) { m.rules.run(ctx, m, calls) },
	})
	return m
}

// failure is the error with which the engine broke, nil as long as it works.
func (m *model) failure() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.failed
}

// note keeps err if it says that the engine is broken.
func (m *model) note(err error) error {
	if fault.CodeOf(err) == fault.Broken {
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.failed == nil {
			m.failed = err
		}
	}
	return err
}

// seat is one job's use of an engine that serves others between its calls. A seat has
// the methods of Engine and of its optional abilities; those that the engine lacks
// fail with Invalid.
type seat struct {
	*batch.Member[*unetCall]
	model   *model
	company *Company // of the job; may be nil
}

// join returns a new seat, whose calls company counts unless it is nil.
func (m *model) join(company *Company) *seat { return &seat{m.calls.Join(), m, company} }

// waited notes that a call waited for the engine.
func (s *seat) waited(from, to time.Time) {
	if s.company != nil {
		s.company.Wait += to.Sub(from).Seconds()
	}
}

// do calls f while nobody else uses the engine.
func (s *seat) do(ctx context.Context, op string, f func() error) (err error) {
	arrived := time.Now()
	stopped := s.Alone(ctx, func() {
		s.waited(arrived, time.Now())
		if err = s.model.failure(); err == nil {
			err = s.model.note(f())
		}
	})
	if stopped != nil {
		return fault.Stopped(ctx, op)
	}
	return err
}

// Info describes the engine.
func (s *seat) Info() EngineInfo { return s.model.eng.Info() }

// EncodeText is Engine.EncodeText.
func (s *seat) EncodeText(ctx context.Context, in TextInput) (out []float32, err error) {
	err = s.do(ctx, "prompt", func() error {
		out, err = s.model.eng.EncodeText(ctx, in)
		return err
	})
	return out, err
}

// Encode is Engine.Encode.
func (s *seat) Encode(ctx context.Context, in PixelInput) (out []float32, err error) {
	err = s.do(ctx, "encode", func() error {
		out, err = s.model.eng.Encode(ctx, in)
		return err
	})
	return out, err
}

// Decode is Engine.Decode.
func (s *seat) Decode(ctx context.Context, in LatentInput) (out []float32, err error) {
	err = s.do(ctx, "decode", func() error {
		out, err = s.model.eng.Decode(ctx, in)
		return err
	})
	return out, err
}

// PredictNoise is Engine.PredictNoise, in one call with the rows of other jobs where
// they fit together.
func (s *seat) PredictNoise(ctx context.Context, in UNetInput) ([]float32, error) {
	if err := in.Check(s.Info().UNetChannels); err != nil { // a fault of one must not be that of others
		return nil, err
	}
	c := &unetCall{in: in, err: fault.Errorf(fault.Internal, "unet", "the call ended by a panic")}
	arrived := time.Now()
	stopped := s.Share(ctx, c)
	if s.company != nil && c.rows > 0 {
		s.company.Calls++
		s.company.Rows += c.rows
		s.waited(arrived, c.began)
	}
	if stopped != nil || ctx.Err() != nil && fault.CodeOf(c.err) == fault.Canceled {
		return nil, fault.Stopped(ctx, "unet")
	}
	return c.out, c.err
}

// SetLoRAs is LoRAApplier.SetLoRAs; files are the versions that act after it.
func (s *seat) SetLoRAs(ctx context.Context, loras []LoRA) (reports []LoRAReport, files []fileid.ID, err error) {
	err = s.do(ctx, "lora", func() error {
		switch ap, ok := s.model.eng.(LoRAApplier); {
		case ok:
			reports, err = ap.SetLoRAs(ctx, loras)
		case len(loras) > 0:
			err = fault.Errorf(fault.Invalid, "lora", "this engine cannot apply LoRAs")
		}
		files = s.model.files()
		return err
	})
	return reports, files, err
}

// SetHypernets is HypernetApplier.SetHypernets.
func (s *seat) SetHypernets(ctx context.Context, list []Hypernet) error {
	return s.do(ctx, "hypernetworks", func() error {
		switch ap, ok := s.model.eng.(HypernetApplier); {
		case ok:
			return ap.SetHypernets(ctx, list)
		case len(list) > 0:
			return fault.Errorf(fault.Invalid, "hypernetworks", "this engine cannot apply hypernetworks")
		}
		return nil
	})
}

// SetVAE makes a VAE act, "" for the checkpoint's own.
func (s *seat) SetVAE(ctx context.Context, path string) error {
	return s.do(ctx, "vae", func() error {
		switch sw, ok := s.model.eng.(VAESwitcher); {
		case ok:
			return sw.SetVAE(ctx, path)
		case path != "":
			return &fault.Error{Code: fault.Invalid, Op: "vae", Field: "sd_vae", Msg: "this engine cannot replace the VAE"}
		}
		return nil
	})
}

// Detect is ObjectDetector.Detect.
func (s *seat) Detect(ctx context.Context, model string, m imageio.RGB, confidence float64) (found []detect.Found, err error) {
	err = s.do(ctx, "detect", func() error {
		d, ok := s.model.eng.(ObjectDetector)
		if !ok {
			return fault.Errorf(fault.Invalid, "detect", "this engine finds no objects")
		}
		found, err = d.Detect(ctx, model, m, confidence)
		return err
	})
	return found, err
}

// ImagePrompt is ImagePrompter.ImagePrompt.
func (s *seat) ImagePrompt(ctx context.Context, in ImagePromptInput) (out ImagePrompt, err error) {
	err = s.do(ctx, "ip-adapter", func() error {
		p, ok := s.model.eng.(ImagePrompter)
		if !ok {
			return fault.Errorf(fault.Invalid, "ip-adapter", "this engine runs no IP-Adapters")
		}
		out, err = p.ImagePrompt(ctx, in)
		return err
	})
	return out, err
}

// Depth is DepthEstimator.Depth.
func (s *seat) Depth(ctx context.Context, in DepthInput) (out []float32, err error) {
	err = s.do(ctx, "depth", func() error {
		d, ok := s.model.eng.(DepthEstimator)
		if !ok {
			return fault.Errorf(fault.Invalid, "depth", "this engine estimates no depth")
		}
		out, err = d.Depth(ctx, in)
		return err
	})
	return out, err
}

// DecodePreview is PreviewDecoder.DecodePreview.
func (s *seat) DecodePreview(ctx context.Context, taesd string, latent []float32, h, w int) (out []float32, err error) {
	dec, ok := s.model.eng.(PreviewDecoder)
	if !ok {
		return nil, fault.Errorf(fault.Invalid, "preview", "this engine makes no previews")
	}
	err = s.do(ctx, "preview", func() error {
		out, err = dec.DecodePreview(ctx, taesd, latent, h, w)
		return err
	})
	return out, err
}

// UpscalePixels is PixelUpscaler.UpscalePixels.
func (s *seat) UpscalePixels(ctx context.Context, model UpscalerModel, pixels []float32, h, w int) (out []float32, factor int, err error) {
	up, ok := s.model.eng.(PixelUpscaler)
	if !ok {
		return nil, 0, fault.Errorf(fault.Invalid, "upscale", "this engine cannot run upscaler models")
	}
	err = s.do(ctx, "upscale", func() error {
		out, factor, err = up.UpscalePixels(ctx, model, pixels, h, w)
		return err
	})
	return out, factor, err
}

// files are the versions of the files that act on m, without those that its engine
// does not tell. Nobody may use the engine meanwhile.
func (m *model) files() []fileid.ID {
	if keeper, ok := m.eng.(FileKeeper); ok {
		return keeper.Files()
	}
	return nil
}
