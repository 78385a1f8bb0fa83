package fleet_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"sdworker/fault"
	"sdworker/inference"
	"sdworker/inference/fleet"
	"sdworker/inference/imageio"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// scripted is a device whose jobs take a second.
type scripted struct {
	mu      sync.Mutex
	dead    bool
	loaded  string
	jobs    []string // checkpoints, in order of arrival
	unloads int
	closed  bool
}

func (s *scripted) Generate(_ context.Context, req *inference.Request, _ inference.Hooks) (*inference.Result, error) {
	s.mu.Lock()
	s.jobs = append(s.jobs, req.Files.Checkpoint)
	dead := s.dead
	s.mu.Unlock()
	if dead {
		return nil, fault.Errorf(fault.Broken, "engine", "dead")
	}
	time.Sleep(time.Second)
	return &inference.Result{}, nil
}

func (s *scripted) Upscale(_ context.Context, req *inference.UpscaleRequest, _ inference.Hooks) (imageio.RGB, error) {
	return req.Image, nil
}

func (s *scripted) Load(_ context.Context, files inference.Files, hooks inference.Hooks) error {
	hooks.Report(inference.Progress{Phase: inference.PhaseLoading})
	if s.dead {
		return fault.Errorf(fault.Broken, "engine", "dead")
	}
	s.loaded = files.Checkpoint
	return nil
}

func (s *scripted) Unload(context.Context) error { s.unloads++; return nil }
func (s *scripted) Close() error                 { s.closed = true; return nil }

func (s *scripted) Status() inference.Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	status := inference.Status{
		Ready: !s.dead, Engine: inference.EngineInfo{Checkpoint: s.loaded}, Memory: inference.Memory{DeviceTotal: 10}, UNetCalls: 2, UNetRows: 8,
		ModelLoads: 1, Caches: []inference.CacheCount{{Name: "prompt", Hits: 3, Misses: 1}},
	}
	if s.dead {
		status.Err = "dead"
	}
	return status
}

// two is a fleet of two devices that work on two jobs each.
func two() (f *fleet.Fleet, a, b *scripted) {
	a, b = &scripted{}, &scripted{}
	return fleet.New(2, fleet.Device{Name: "a", Generator: a}, fleet.Device{Name: "b", Generator: b}), a, b
}

// send starts jobs one after another and waits until all have ended.
func send(t *testing.T, f *fleet.Fleet, checkpoints ...string) {
	t.Helper()
	var wg sync.WaitGroup
	for _, checkpoint := range checkpoints {
		wg.Go(func() {
			_, err := f.Generate(t.Context(), &inference.Request{Files: inference.Files{Checkpoint: checkpoint}}, inference.Hooks{})
			assert.NoError(t, err)
		})
		synctest.Wait()
	}
	wg.Wait()
}

func TestJobsGoWhereTheirWeightsAre(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, a, b := two()
		send(t, f, "x", "y", "y", "x")
		require.Equal(t, []string{"x", "x"}, a.jobs)
		require.Equal(t, []string{"y", "y"}, b.jobs)
	})
}

func TestAFullDeviceSendsJobsOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, a, b := two()
		send(t, f, "x", "x", "x", "x", "x")
		require.Len(t, a.jobs, 3, "when both are full the first one takes it")
		require.Len(t, b.jobs, 2)
	})
}

func TestADeadDeviceLeavesTheOthersWorking(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, a, b := two()
		send(t, f, "x")
		a.dead = true
		send(t, f, "x", "x", "x")
		require.Len(t, a.jobs, 1)
		require.Len(t, b.jobs, 3)
		status := f.Status()
		require.True(t, status.Ready)
		require.Equal(t, "a: dead", status.Err)
		require.Equal(t, []bool{false, true}, []bool{status.Devices[0].Ready, status.Devices[1].Ready})

		b.dead = true
		require.False(t, f.Status().Ready)
		_, err := f.Generate(t.Context(), &inference.Request{}, inference.Hooks{})
		require.Equal(t, fault.Broken, fault.CodeOf(err), "the honest error")
	})
}

func TestAllDevicesLoadUnloadAndClose(t *testing.T) {
	f, a, b := two()
	reports := 0
	hooks := inference.Hooks{Progress: func(inference.Progress) { reports++ }}
	require.NoError(t, f.Load(t.Context(), inference.Files{Checkpoint: "x"}, hooks))
	require.Equal(t, []string{"x", "x"}, []string{a.loaded, b.loaded})
	require.Equal(t, 1, reports, "one tells for all")
	status := f.Status()
	require.Equal(t, "x", status.Engine.Checkpoint)
	require.EqualValues(t, 20, status.Memory.DeviceTotal)
	require.EqualValues(t, 4, status.UNetCalls)
	require.EqualValues(t, 2, status.ModelLoads)
	require.Equal(t, []inference.CacheCount{{Name: "prompt", Hits: 6, Misses: 2}}, status.Caches)
	require.EqualValues(t, 16, status.UNetRows)
	require.Equal(t, []string{"a", "b"}, []string{status.Devices[0].Name, status.Devices[1].Name})

	a.dead = true
	require.NoError(t, f.Load(t.Context(), inference.Files{Checkpoint: "y"}, inference.Hooks{}), "one can")
	b.dead = true
	err := f.Load(t.Context(), inference.Files{Checkpoint: "z"}, inference.Hooks{})
	require.Equal(t, fault.Broken, fault.CodeOf(err))
	require.ErrorContains(t, err, "a: ")
	require.ErrorContains(t, err, "b: ")

	require.NoError(t, f.Unload(t.Context()))
	require.NoError(t, f.Close())
	require.Equal(t, []int{1, 1}, []int{a.unloads, b.unloads})
	require.True(t, a.closed && b.closed)
	out, err := f.Upscale(t.Context(), &inference.UpscaleRequest{Image: imageio.Fill(2, 2, [3]uint8{1, 2, 3})}, inference.Hooks{})
	require.NoError(t, err)
	require.Equal(t, 2, out.W)
}
