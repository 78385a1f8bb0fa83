package runpod

import "flag"

// Flags are the command line flags of RunPod's SDK.
type Flags struct {
	LogLevel    string // --rp_log_level
	Debugger    bool   // --rp_debugger
	ServeAPI    bool   // --rp_serve_api
	APIPort     int    // --rp_api_port
	APIHost     string // --rp_api_host
	Concurrency int    // --rp_api_concurrency
	TestInput   string // --test_input
}

// Register adds the flags to a flag set, with the SDK's names and defaults.
func (f *Flags) Register(fs *flag.FlagSet) {
	fs.StringVar(&f.LogLevel, "rp_log_level", "", "log level: ERROR, WARN, INFO, DEBUG, TRACE")
	fs.BoolVar(&f.Debugger, "rp_debugger", false, "log everything")
	fs.BoolVar(&f.ServeAPI, "rp_serve_api", false, "serve RunPod's endpoint API on this machine instead of taking jobs")
	fs.IntVar(&f.APIPort, "rp_api_port", 8000, "port of that API")
	fs.StringVar(&f.APIHost, "rp_api_host", "localhost", "host of that API")
	fs.IntVar(&f.Concurrency, "rp_api_concurrency", 1, "jobs at the same time in that API")
	fs.StringVar(&f.TestInput, "test_input", "", "do this one job (JSON with an \"input\"), print its result and exit")
}

// Apply returns cfg with what the flags override.
func (f Flags) Apply(cfg Config) Config {
	if f.LogLevel != "" {
		cfg.LogLevel = f.LogLevel
	}
	if f.Debugger {
		cfg.LogLevel = "TRACE"
	}
	return cfg
}
