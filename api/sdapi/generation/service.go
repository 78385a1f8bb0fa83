package generation

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"sdworker/api/sdapi/dynamicprompts"
	"sdworker/api/sdapi/gridtext"
	"sdworker/api/sdapi/options"
	"sdworker/api/sdapi/picture"
	"sdworker/api/sdapi/styles"
	"sdworker/inference"
	"sdworker/inference/prompt"
	"sdworker/models/catalog"
)

// Config is what a service is made of. Queue and Catalog are required; for the
// rest the zero value means what its comment says.
type Config struct {
	Queue   *inference.Queue
	Catalog *catalog.Catalog
	Hashes  Hashes // Catalog unless set

	// OptionsFile is config.json; "" keeps options only for the life of the
	// process.
	OptionsFile string
	// Checkpoint is the model to start with, by any name that
	// sd_model_checkpoint accepts or by its path; "" takes the stored option.
	Checkpoint string
	// StylesFiles are the files of prompt styles, styles.csv in A1111.
	StylesFiles []string
	// Wildcards are the folders of the files that dynamic prompts choose from.
	Wildcards []string
	// Provenance is told in the files of generated pictures.
	Provenance picture.Provenance
	// Scripts are those that script_name selects, in the order of their list.
	Scripts []*Script
	// GridFont writes the legends of grids; nil is the built-in one.
	GridFont *gridtext.Font
	// OutputDir is where save_images and the output folders of the options
	// begin; "" is the working directory.
	OutputDir string

	// ImageURLs allows http and https addresses as images, within the options
	// api_enable_requests and api_forbid_local_requests.
	ImageURLs bool

	// HashWait is how long a reply waits for hashes of model files that were never
	// hashed before it goes out without; 0 means DefaultHashWait.
	HashWait time.Duration

	// Version is what A1111 calls its version in infotexts and info.
	Version string // "" means "v1.9.3"

	Log zerolog.Logger
	// Now and Seed are the clock and the source of random seeds, below
	// SeedLimit; nil means the real ones.
	Now  func() time.Time
	Seed func() int64
}

const (
	// DefaultHashWait is short compared to painting a picture, and long enough
	// for files that are still in the page cache.
	DefaultHashWait = 3 * time.Second
	// SeedLimit is above every random seed of A1111.
	SeedLimit = 4294967294
	// Version is the release that the API speaks for.
	Version = "v1.9.3"
)

// Service makes pictures of requests. It is safe for concurrent use and must be closed.
type Service struct {
	Config  Config
	Options *options.Store
	Reader  picture.Reader // of the pictures of requests

	finished  finishedTasks
	wildcards dynamicprompts.Cache
	chosen    sync.Map // name as chosen, without hash -> Checkpoint that it meant last

	working context.Context //nolint:containedctx // of what goes on beside the requests; ends with Close
	end     context.CancelFunc
	beside  sync.WaitGroup
}

// New reads the options and returns the service.
func New(cfg Config) (*Service, error) {
	store, skipped, err := options.Open(cfg.OptionsFile)
	if err != nil {
		return nil, err
	}
	if len(skipped) > 0 {
		cfg.Log.Warn().Strs("options", skipped).Str("file", cfg.OptionsFile).Msg("options of a wrong type have their default")
	}
	if cfg.Hashes == nil {
		cfg.Hashes = cfg.Catalog
	}
	if cfg.HashWait == 0 {
		cfg.HashWait = DefaultHashWait
	}
	if cfg.Version == "" {
		cfg.Version = Version
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Seed == nil {
		cfg.Seed = func() int64 { return rand.Int64N(SeedLimit) }
	}
	s := &Service{Config: cfg, Options: store, Reader: picture.Reader{URLs: cfg.ImageURLs}}
	if err := s.startCheckpoint(); err != nil {
		return nil, err
	}
	s.working, s.end = context.WithCancel(context.Background())
	return s, nil
}

// Close ends the work beside the requests and waits for it.
func (s *Service) Close() error {
	s.end()
	s.beside.Wait()
	return nil
}

// Finished reports whether one of the last jobs had this id.
func (s *Service) Finished(id string) bool { return s.finished.has(id) }

// StyleFiles are the files of prompt styles.
func (s *Service) StyleFiles() []styles.File { return styles.Files(s.Config.StylesFiles, s.Config.Log) }

// AllStyles are the prompt styles of all files.
func (s *Service) AllStyles() []prompt.Style { return styles.All(s.StyleFiles()) }
