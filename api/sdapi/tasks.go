package sdapi

import (
	"encoding/base64"
	"slices"
	"sync"
)

// finishedTasks remembers the ids of the last jobs.
type finishedTasks struct {
	mu  sync.Mutex
	ids []string
}

// rememberedTasks is how many finished tasks A1111 knows.
const rememberedTasks = 16

func (f *finishedTasks) add(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ids = append(f.ids, id)
	if len(f.ids) > rememberedTasks {
		f.ids = slices.Delete(f.ids, 0, 1)
	}
}

func (f *finishedTasks) has(id string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return id != "" && slices.Contains(f.ids, id)
}

func base64Text(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

// mediaType is the media type of a value of option samples_format.
func mediaType(format string) string {
	if format == "jpg" {
		format = "jpeg"
	}
	return "image/" + format
}
