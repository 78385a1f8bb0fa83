package sdapi

import "net/http"

// table lists all routes of the server.
func (s *Server) table() routes {
	return newRoutes([]route{
		{method: http.MethodPost, path: "/sdapi/v1/txt2img", handle: s.generate(txt2img), body: txt2img.model, summary: "Make pictures from text"},
		{method: http.MethodPost, path: "/sdapi/v1/img2img", handle: s.generate(img2img), body: img2img.model, summary: "Make pictures from pictures"},
	})
}
