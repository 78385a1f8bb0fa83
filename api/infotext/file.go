package infotext

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"sdworker/inference/imageio"
	"sdworker/inference/sampler"
)

// FromFile returns the text of generation parameters in a picture file, empty when
// there is none, and the other information of the file. Pictures of the NovelAI
// service get a text from what that service stores.
func FromFile(data []byte) (text string, items []imageio.Item) {
	info := imageio.ReadInfo(data)
	if s, ok := fromNovelAI(data, info.Items); ok {
		return s, info.Items
	}
	return info.Parameters, info.Items
}

// fromNovelAI translates the description and the JSON comment of NovelAI, whose
// pictures need clip skip 2 and a noise seed delta (A1111 modules/images.py).
func fromNovelAI(data []byte, items []imageio.Item) (string, bool) {
	texts := map[string]string{}
	for _, item := range items {
		if s, ok := item.Value.(string); ok {
			texts[item.Key] = s
		}
	}
	if texts["Software"] != "NovelAI" {
		return "", false
	}
	var job struct {
		Sampler, UC        *string
		Steps, Scale, Seed json.Number
	}
	w, h, err := imageio.Size(data)
	if err != nil || json.Unmarshal([]byte(texts["Comment"]), &job) != nil || job.Sampler == nil || job.UC == nil {
		return "", false
	}
	return fmt.Sprintf("%s\n%s %s\nSteps: %s, Sampler: %s, CFG scale: %s, Seed: %s, Size: %dx%d, Clip skip: 2, ENSD: 31337",
		texts["Description"], negativeLabel, *job.UC, job.Steps, knownSampler(*job.Sampler), job.Scale, job.Seed, w, h), true
}

// knownSampler finds a sampler by its lower-case name or alias; Euler a stands in
// for the others.
func knownSampler(name string) string {
	for _, s := range sampler.All() {
		if strings.ToLower(s.Name) == name || slices.Contains(s.Aliases, name) {
			return s.Name
		}
	}
	return "Euler a"
}
