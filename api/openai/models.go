package openai

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"

	"sdworker/api/a1111"
)

// checkpoint is an entry of A1111's list of models.
type checkpoint struct {
	Title    string `json:"title"`
	Name     string `json:"model_name"`
	Hash     string `json:"hash"`
	SHA256   string `json:"sha256"`
	Filename string `json:"filename"`
}

// model is an entry of OpenAI's list of models.
type model struct {
	ID      string `json:"id"`
	Object  string `json:"object"`
	Created int64  `json:"created"` // when the file was written, Unix seconds; 0 when it is not known
	OwnedBy string `json:"owned_by"`
}

// modelList is the reply of GET /v1/models.
type modelList struct {
	Object string  `json:"object"` // "list"
	Data   []model `json:"data"`
}

func (c checkpoint) model() model {
	m := model{ID: c.Name, Object: "model", OwnedBy: "local"}
	if info, err := os.Stat(c.Filename); err == nil {
		m.Created = info.ModTime().Unix()
	}
	return m
}

// checkpoints asks A1111 for its models.
func (s *Server) checkpoints(ctx context.Context) ([]checkpoint, error) {
	reply := s.cfg.API.Get(ctx, a1111.SDModels)
	if reply.Status != http.StatusOK {
		return nil, fromReply(reply)
	}
	var list []checkpoint
	if err := json.Unmarshal(reply.Body, &list); err != nil {
		return nil, fmt.Errorf("list of models: %w", err)
	}
	return list, nil
}

// foreign are the beginnings of the names of OpenAI's own models. Tools send
// such names unasked; they stand for the model that is loaded.
var foreign = []string{"dall-e", "gpt-image", "chatgpt-image"}

// checkpoint returns the title of the model of a request; "" stands for the one
// that is loaded.
func (s *Server) checkpoint(ctx context.Context, name string) (title string, err error) {
	if name == "" || slices.ContainsFunc(foreign, func(prefix string) bool { return strings.HasPrefix(name, prefix) }) {
		return "", nil
	}
	c, err := s.find(ctx, name)
	return c.Title, err
}

// find returns the checkpoint of a name: that of the list, its title or its
// hash.
func (s *Server) find(ctx context.Context, name string) (checkpoint, error) {
	list, err := s.checkpoints(ctx)
	if err != nil {
		return checkpoint{}, err
	}
	for _, c := range list {
		if name != "" && slices.Contains([]string{c.Name, c.Title, c.Hash, c.SHA256}, name) {
			return c, nil
		}
	}
	e := invalid("model", "model_not_found", "there is no model %q; GET /v1/models lists those that there are", name)
	e.status = http.StatusNotFound
	return checkpoint{}, e
}

// models handles GET /v1/models.
func (s *Server) models(w http.ResponseWriter, r *http.Request) error {
	list, err := s.checkpoints(r.Context())
	if err != nil {
		return err
	}
	data := make([]model, len(list))
	for i, c := range list {
		data[i] = c.model()
	}
	writeJSON(w, http.StatusOK, modelList{"list", data})
	return nil
}

// model handles GET /v1/models/{model}.
func (s *Server) model(w http.ResponseWriter, r *http.Request) error {
	c, err := s.find(r.Context(), r.PathValue("model"))
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, c.model())
	return nil
}
