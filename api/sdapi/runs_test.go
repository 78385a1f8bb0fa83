package sdapi_test

import (
	"context"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/api/sdapi"
	"sdworker/api/sdapi/sdapitest"
	"sdworker/inference"
	"sdworker/inference/imageio"
)

// crowd is a generator that holds its jobs until so many are inside, and counts them.
type crowd struct {
	sdapitest.Generator
	want int // jobs to wait for; 0 = none
	full chan struct{}

	mu           sync.Mutex
	inside, most int
}

func (c *crowd) Generate(ctx context.Context, req *inference.Request, hooks inference.Hooks) (*inference.Result, error) {
	c.mu.Lock()
	c.inside++
	if c.most = max(c.most, c.inside); c.inside == c.want {
		close(c.full)
		c.want = 0
	}
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		c.inside--
		c.mu.Unlock()
	}()
	select {
	case <-c.full:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return c.Generator.Generate(ctx, req, hooks)
}

// startCrowd has a queue of so many jobs at once, and a generator that waits for want.
func startCrowd(t *testing.T, jobs, want int) (*fixture, *crowd) {
	c := &crowd{want: want, full: make(chan struct{})}
	if want == 0 {
		close(c.full)
	}
	return start(t, func(cfg *sdapi.Config) {
		cfg.Queue = inference.NewQueue(c, inference.QueueOptions{Jobs: jobs})
	}), c
}

// fourPrompts makes four pictures of a batch whose prompts differ.
func fourPrompts() map[string]any {
	return small(map[string]any{"prompt": "{a|b|c|d}", "batch_size": 4, "alwayson_scripts": dynamic(map[int]any{argCombinatorial: true})})
}

func TestPromptsOfABatchAreMadeAtTheSameTime(t *testing.T) {
	f, c := startCrowd(t, 8, 4)
	g := f.post("/sdapi/v1/txt2img", fourPrompts()).generated(t)
	require.Equal(t, 4, c.most)
	require.Equal(t, []any{"a", "b", "c", "d"}, g.info["all_prompts"])
	require.Equal(t, []any{1.0, 2.0, 3.0, 4.0}, g.info["all_seeds"])
	for i := range 4 {
		m, err := imageio.Decode(g.images[i], imageio.MaxPixels)
		require.NoError(t, err)
		require.Equal(t, imageio.Fill(64, 64, [3]uint8{uint8(i + 1), uint8(i + 1), uint8(i + 1)}), m.Flatten([3]uint8{}), "the picture of seed %d", i+1)
	}
}

func TestPromptsOfABatchHeedTheLimitOfJobs(t *testing.T) {
	for jobs, want := range map[int]int{1: 1, 3: 3} {
		f, c := startCrowd(t, jobs, want)
		require.Len(t, f.post("/sdapi/v1/txt2img", fourPrompts()).generated(t).images, 4)
		require.Equal(t, want, c.most)
	}
	f, c := startCrowd(t, 8, 0)
	body := fourPrompts()
	body["batch_size"] = 1
	require.Len(t, f.post("/sdapi/v1/txt2img", body).generated(t).images, 4)
	require.Equal(t, 1, c.most, "four batches come one after another")
}

func TestAnInterruptReachesAllOfABatch(t *testing.T) {
	f, c := startCrowd(t, 8, 4)
	body := fourPrompts()
	body["steps"] = 3
	var asked sync.Once
	c.Wait = func(ctx context.Context, hooks inference.Hooks, _ int) error {
		asked.Do(func() { require.Equal(t, 200, f.post("/sdapi/v1/interrupt", nil).status) })
		select {
		case <-hooks.Control.Changed():
		case <-ctx.Done():
		}
		return nil
	}
	require.Len(t, f.post("/sdapi/v1/txt2img", body).generated(t).images, 4)
}

func TestProgressOfABatchIsThatOfItsOldestPart(t *testing.T) {
	f, c := startCrowd(t, 8, 4)
	var mu sync.Mutex
	var jobs []int
	c.Wait = func(context.Context, inference.Hooks, int) error {
		state, ok := f.queue.Running()
		require.True(t, ok)
		mu.Lock()
		defer mu.Unlock()
		require.Equal(t, 4, state.Progress.Jobs)
		require.LessOrEqual(t, state.Progress.Job, 3)
		jobs = append(jobs, state.Progress.Job)
		return nil
	}
	require.Len(t, f.post("/sdapi/v1/txt2img", fourPrompts()).generated(t).images, 4)
	require.Len(t, jobs, 4)
}
