package sdapi

import (
	"context"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"sdworker/api/gate"
	"sdworker/api/sdapi/dynamicprompts"
	"sdworker/api/sdapi/gridtext"
	"sdworker/api/sdapi/options"
	"sdworker/api/sdapi/pyjson"
	"sdworker/inference"
	"sdworker/models/catalog"
)

// Config is what a Server is made of. Queue and Catalog are required; for the
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
	Provenance Provenance
	// GridFont writes the legends of grids; nil is the built-in one.
	GridFont *gridtext.Font
	// OutputDir is where save_images and the output folders of the options
	// begin; "" is the working directory.
	OutputDir string

	// Origins are shown among the flags of the command line. Heeding them is the
	// gate's work.
	Origins gate.Origins
	// ServerStop is called by server-kill, server-restart and server-stop; nil
	// leaves these routes out (--api-server-stop).
	ServerStop func()
	// ImageURLs allows http and https addresses as images, within the options
	// api_enable_requests and api_forbid_local_requests.
	ImageURLs bool

	// OtherPaths are routes that somebody else serves beside these, as the paths of
	// an OpenAPI document. They are only described.
	OtherPaths map[string]any

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

// Server answers the API. It is safe for concurrent use and must be closed.
type Server struct {
	cfg     Config
	options *options.Store
	routes  []route
	mux     *gate.Mux
	started time.Time
	appID   int64

	finished  finishedTasks
	wildcards dynamicprompts.Cache
	chosen    sync.Map // name as chosen, without hash -> Checkpoint that it meant last

	working context.Context //nolint:containedctx // of what goes on beside the requests; ends with Close
	end     context.CancelFunc
	beside  sync.WaitGroup
}

// New reads the options and returns the server.
func New(cfg Config) (*Server, error) {
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
	s := &Server{cfg: cfg, options: store, started: cfg.Now(), appID: rand.Int64N(1 << 62)}
	if err := s.startCheckpoint(); err != nil {
		return nil, err
	}
	s.working, s.end = context.WithCancel(context.Background())
	s.routes = s.table()
	s.mux = gate.NewMux(gate.Policy{}, nil, s.Door())
	return s, nil
}

// Close ends what the server does beside its requests and waits for it.
func (s *Server) Close() error {
	s.end()
	s.beside.Wait()
	return nil
}

// ServeHTTP answers a request of anyone. Where clients have to be checked, Door
// goes into a gate.Mux instead.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// timedWriter adds X-Process-Time, in seconds, before the header goes out.
type timedWriter struct {
	http.ResponseWriter
	started time.Time
	wrote   bool
}

func (w *timedWriter) WriteHeader(status int) {
	if w.wrote {
		return
	}
	w.wrote = true
	seconds := time.Since(w.started).Round(100 * time.Microsecond).Seconds()
	w.Header().Set("X-Process-Time", pyjson.Repr(seconds))
	w.ResponseWriter.WriteHeader(status)
}

func (w *timedWriter) Write(b []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.ResponseWriter.Write(b)
}

// Unwrap is for http.ResponseController.
func (w *timedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
