package sdapi

import (
	"encoding/json"
	"net/http"
	"runtime"
	"runtime/debug"
	"sort"

	"sdworker/api/sdapi/fastapi"
	"sdworker/api/sdapi/options"
	"sdworker/api/sdapi/pyjson"
)

// quickSettings handles GET /internal/quicksettings-hint: the names of all
// options, which A1111's settings page offers as quick settings.
func quickSettings(*http.Request) (any, error) {
	names := make([]string, 0, len(options.Table.Fields))
	for _, f := range options.Table.Fields {
		names = append(names, f.Name)
	}
	sort.Strings(names)
	list := []any{}
	for _, name := range names {
		list = append(list, pyjson.NewObject("name", name, "label", name))
	}
	return list, nil
}

// sysinfo handles GET /internal/sysinfo and /internal/sysinfo-download.
func (s *Server) sysinfo(attachment bool) fastapi.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		status := s.cfg.Queue.Generator().Status()
		info := map[string]any{
			"Platform": runtime.GOOS + "/" + runtime.GOARCH,
			"Go":       runtime.Version(),
			"Version":  s.cfg.Version,
			"CPU":      map[string]any{"model": runtime.GOARCH, "count logical": runtime.NumCPU()},
			"Engine":   status.Engine,
			"Memory":   status.Memory,
			"Uptime":   s.cfg.Now().Sub(s.started).Seconds(),
		}
		if build, ok := debug.ReadBuildInfo(); ok {
			info["Module"] = build.Main.Path
		}
		text, err := json.MarshalIndent(info, "", "    ")
		if err != nil {
			return err
		}
		if attachment {
			w.Header().Set("Content-Disposition", `attachment; filename="sysinfo-`+s.cfg.Now().Format("2006-01-02-15-04")+`.json"`)
		}
		fastapi.Write(w, r, http.StatusOK, "text/plain; charset=utf-8", text)
		return nil
	}
}

// gradioConfig is GET /config: the configuration that gradio 3.41.2 sends for a
// page without components. Clients only check that the route exists.
var gradioConfig = pyjson.NewObject(
	"version", "3.41.2", "mode", "blocks", "dev_mode", false, "analytics_enabled", false, "components", []any{}, "css", nil,
	"title", "Stable Diffusion", "space_id", nil, "enable_queue", true, "show_error", true, "show_api", true, "is_colab", false,
	"stylesheets", []any{}, "theme", "default", "layout", pyjson.NewObject("id", 0, "children", []any{}), "dependencies", []any{},
	"root", "",
)

// gradioInfo is GET /info.
var gradioInfo = pyjson.NewObject("named_endpoints", empty, "unnamed_endpoints", empty)

// queueStatus handles GET /queue/status, gradio's estimation, with the numbers
// of this server's queue.
func (s *Server) queueStatus(*http.Request) (any, error) {
	waiting := len(s.cfg.Queue.Waiting())
	return pyjson.NewObject("msg", "estimation", "rank", 0, "queue_size", waiting,
		"avg_event_process_time", nil, "avg_event_concurrent_process_time", nil, "rank_eta", nil, "queue_eta", 0), nil
}

// health handles GET /healthz: the process answers.
func (s *Server) health(*http.Request) (any, error) {
	return pyjson.NewObject("status", "ok"), nil
}

// ready handles GET /readyz: 200 once a job can start without a model load.
func (s *Server) ready(w http.ResponseWriter, r *http.Request) error {
	status := s.cfg.Queue.Generator().Status()
	reply := pyjson.NewObject("status", "ready", "checkpoint", orNull(status.Engine.Checkpoint))
	code := http.StatusOK
	if !status.Ready || status.Engine.Checkpoint == "" {
		code = http.StatusServiceUnavailable
		reply.Set("status", "loading")
		if status.Err != "" {
			reply.Set("error", status.Err)
		}
	}
	if status.Devices != nil {
		devices := []any{}
		for _, d := range status.Devices {
			devices = append(devices, pyjson.NewObject("name", d.Name, "ready", d.Ready && d.Checkpoint != "", "checkpoint", orNull(d.Checkpoint), "error", orNull(d.Err)))
		}
		reply.Set("devices", devices)
	}
	s.writeJSON(w, r, code, reply)
	return nil
}

// stop handles POST /sdapi/v1/server-stop.
func (s *Server) stop(w http.ResponseWriter, r *http.Request) error {
	fastapi.Write(w, r, http.StatusOK, "text/plain; charset=utf-8", []byte("Stopping."))
	s.cfg.ServerStop()
	return nil
}

// kill handles POST /sdapi/v1/server-kill, which never gets a reply.
func (s *Server) kill(http.ResponseWriter, *http.Request) error {
	s.cfg.ServerStop()
	panic(http.ErrAbortHandler)
}

// restart handles POST /sdapi/v1/server-restart. Like an A1111 that was started
// without its launch script, the server cannot restart itself.
func (s *Server) restart(w http.ResponseWriter, _ *http.Request) error {
	w.WriteHeader(http.StatusNotImplemented)
	return nil
}
