package sdapi

import (
	_ "embed"
	"fmt"
	"os"
	"strings"

	"sdworker/api/sdapi/pyjson"
)

//go:embed cmdflags.json
var cmdFlagsJSON []byte

// dataDir stands in cmdflags.json for the folder that A1111 is installed in.
const dataDir = "<data dir>"

// cmdFlags is GET /sdapi/v1/cmd-flags: A1111's flags with the values that this
// server has. Secrets are never shown, unlike in the original.
func (s *Server) cmdFlags() *pyjson.Object {
	v, err := pyjson.Decode(cmdFlagsJSON)
	if err != nil {
		panic(fmt.Sprintf("sdapi: cmdflags.json: %v", err))
	}
	flags := v.(*pyjson.Object)
	here := s.cfg.OutputDir
	if here == "" {
		here, _ = os.Getwd()
	}
	for name, value := range flags.Clone().All() {
		switch value := value.(type) {
		case string:
			flags.Set(name, strings.Replace(value, dataDir, here, 1))
		case []any:
			for i := range value {
				if text, ok := value[i].(string); ok {
					value[i] = strings.Replace(text, dataDir, here, 1)
				}
			}
		}
	}
	flags.Set("api_server_stop", s.cfg.ServerStop != nil)
	if origins := s.cfg.Origins; len(origins.List) > 0 {
		flags.Set("cors_allow_origins", strings.Join(origins.List, ","))
	}
	if pattern := s.cfg.Origins.Pattern; pattern != nil {
		flags.Set("cors_allow_origins_regex", pattern.String())
	}
	return flags
}
