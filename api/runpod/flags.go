package runpod

import (
	"flag"
	"fmt"
	"io"
)

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

// ParseFlags reads the SDK's flags from args and returns the rest: like the SDK
// it passes on what it does not know.
func ParseFlags(args []string) (f Flags, rest []string, err error) {
	fs := flag.NewFlagSet("runpod", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	f.Register(fs)
	for len(args) > 0 {
		name, isFlag := flagName(args[0])
		if !isFlag || fs.Lookup(name) == nil {
			rest = append(rest, args[0])
			args = args[1:]
			continue
		}
		// One known flag with its value at a time, so that unknown ones may
		// stand in between.
		n := 1
		if b, ok := fs.Lookup(name).Value.(interface{ IsBoolFlag() bool }); (!ok || !b.IsBoolFlag()) && !hasValue(args[0]) {
			n = min(2, len(args))
		}
		if err := fs.Parse(args[:n]); err != nil {
			return f, rest, fmt.Errorf("%w; see --help", err)
		}
		args = args[n:]
	}
	return f, rest, nil
}

func flagName(arg string) (name string, ok bool) {
	if len(arg) < 2 || arg[0] != '-' {
		return "", false
	}
	name = arg[1:]
	if name[0] == '-' {
		name = name[1:]
	}
	for i, c := range name {
		if c == '=' {
			return name[:i], true
		}
	}
	return name, name != ""
}

func hasValue(arg string) bool {
	for _, c := range arg {
		if c == '=' {
			return true
		}
	}
	return false
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
