package fetch

import (
	"encoding/json"
	"errors"
	"os"
	"strings"
	"sync"
	"time"

	"sdworker/internal/atomicfile"
)

// partSuffix ends the name of an unfinished file.
const partSuffix = ".part"

// chunkBytes is what one request asks for, and what a cut can cost.
const chunkBytes = 16 << 20

// saveInterval is how often the list of finished chunks goes to disk.
const saveInterval = 2 * time.Second

// part is the unfinished file and what is known about it.
type part struct {
	path   string
	file   *os.File
	size   int64
	chunk  int64
	stated partState

	mu    sync.Mutex
	done  []bool
	ready *sync.Cond // a chunk was finished, or the download ended
	ended bool
	saved time.Time
}

// partState is the JSON beside an unfinished file. A download goes on only if
// the server still has the same file.
type partState struct {
	URL       string `json:"url"`
	Size      int64  `json:"size"`
	Validator string `json:"validator"`
	Chunk     int64  `json:"chunk"`
	Done      string `json:"done"` // one digit per chunk
}

// openPart opens or creates the unfinished file for r and finds out which
// chunks are there already.
func openPart(path string, origin string, r remote, chunk int64) (*part, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	p := &part{
		path: path, file: f, size: r.size, chunk: chunk,
		stated: partState{URL: redacted(origin), Size: r.size, Validator: r.validator, Chunk: chunk},
		done:   make([]bool, (r.size+chunk-1)/chunk),
		saved:  time.Now(),
	}
	p.ready = sync.NewCond(&p.mu)
	old, ok := readState(p.statePath())
	if ok && r.validator != "" && old.URL == p.stated.URL && old.Size == r.size && old.Validator == r.validator && old.Chunk == chunk && len(old.Done) == len(p.done) {
		if info, err := f.Stat(); err == nil && info.Size() == r.size {
			for i := range p.done {
				p.done[i] = old.Done[i] == '1'
			}
			return p, nil
		}
	}
	os.Remove(p.statePath())
	err = errors.Join(f.Truncate(0), f.Truncate(r.size))
	if err != nil {
		f.Close()
		return nil, err
	}
	return p, nil
}

func (p *part) statePath() string { return p.path + ".json" }

func readState(path string) (s partState, ok bool) {
	raw, err := os.ReadFile(path)
	return s, err == nil && json.Unmarshal(raw, &s) == nil
}

// span returns the bytes of chunk i.
func (p *part) span(i int) (offset, size int64) {
	offset = int64(i) * p.chunk
	return offset, min(p.chunk, p.size-offset)
}

// have returns the bytes of all finished chunks.
func (p *part) have() (n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, done := range p.done {
		if done {
			_, size := p.span(i)
			n += size
		}
	}
	return n
}

// missing lists the chunks that are still to come.
func (p *part) missing() (list []int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, done := range p.done {
		if !done {
			list = append(list, i)
		}
	}
	return list
}

// finish marks a chunk and, every now and then, saves the list.
func (p *part) finish(i int) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done[i] = true
	p.ready.Broadcast()
	if time.Since(p.saved) < saveInterval {
		return nil
	}
	return p.save()
}

// save writes the list after the chunks it speaks of are on the disk. The
// caller holds mu.
func (p *part) save() error {
	p.saved = time.Now()
	if p.stated.Validator == "" {
		return nil // nothing could prove later that it is still the same file
	}
	if err := p.file.Sync(); err != nil {
		return err
	}
	s := p.stated
	var b strings.Builder
	for _, done := range p.done {
		if done {
			b.WriteByte('1')
		} else {
			b.WriteByte('0')
		}
	}
	s.Done = b.String()
	raw, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return atomicfile.Write(p.statePath(), raw)
}

// wait blocks until chunk i is finished; false means that it never will be.
func (p *part) wait(i int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for !p.done[i] && !p.ended {
		p.ready.Wait()
	}
	return p.done[i]
}

// end wakes everyone who waits for chunks.
func (p *part) end() {
	p.mu.Lock()
	p.ended = true
	p.ready.Broadcast()
	p.mu.Unlock()
}

// keep closes the file and leaves it for the next attempt.
func (p *part) keep() error {
	p.mu.Lock()
	err := p.save()
	p.mu.Unlock()
	return errors.Join(err, p.file.Close())
}

// discard removes everything.
func (p *part) discard() error {
	err := p.file.Close()
	for _, name := range []string{p.path, p.statePath()} {
		if e := os.Remove(name); e != nil && !errors.Is(e, os.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}
	return err
}
