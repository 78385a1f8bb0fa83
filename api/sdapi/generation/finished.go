package generation

import (
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

func (f *finishedTasks) Has(id string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return id != "" && slices.Contains(f.ids, id)
}
