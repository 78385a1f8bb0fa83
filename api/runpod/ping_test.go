package runpod_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"sdworker/api/runpod"
	"sdworker/api/runpod/runpodtest"
)

func TestHeartbeatKeepsItsInterval(t *testing.T) {
	inBubble(t, setup{}, func(context.Context, runpod.Job) (any, error) {
		time.Sleep(time.Minute)
		return 1, nil
	}, func(r *rig) {
		id := r.Submit(1)
		r.wait(id)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		pings := r.Pings()
		require.Len(t, pings, 66, "one at once, then one a second")
		require.Equal(t, time.Second, r.LongestPause())
		require.Equal(t, []string{id}, pings[30].Jobs)
		require.Empty(t, pings[64].Jobs)
		require.Equal(t, runpod.ProtocolVersion, pings[0].Version)
	})
}

func TestHeartbeatIsNotDelayedByFailures(t *testing.T) {
	for name, answer := range map[string]runpodtest.Answer{
		"dropped":      {Drop: true},
		"server error": {Status: 503},
		"hanging":      {Delay: time.Hour, Drop: true},
		"refused":      {Status: 404},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, setup{server: runpodtest.Options{PingInterval: 10 * time.Second}, before: func(s *runpodtest.Server) {
				for range 12 {
					s.Script(runpodtest.PingRoute, answer)
				}
			}}, echo, func(r *rig) {
				time.Sleep(5 * time.Minute)
				require.LessOrEqual(t, r.LongestPause(), 10*time.Second)
				require.Zero(t, r.Scripted(runpodtest.PingRoute))
			})
		})
	}
}

func TestHeartbeatIsRepeatedAtOnceAfterAReset(t *testing.T) {
	inBubble(t, setup{server: runpodtest.Options{PingInterval: 10 * time.Second}, before: func(s *runpodtest.Server) {
		s.Script(runpodtest.PingRoute, runpodtest.Answer{Drop: true})
	}}, echo, func(r *rig) {
		time.Sleep(time.Second)
		require.Len(t, r.Pings(), 2)
	})
}

func TestHeartbeatIntervals(t *testing.T) {
	for _, tc := range []struct {
		text string
		want time.Duration
	}{
		{"4000", 4 * time.Second},
		{"500", 500 * time.Millisecond},
		{"1", 100 * time.Millisecond},
		{"2500.0", 2500 * time.Millisecond},
		{"0", 10 * time.Second},
		{"-5", 10 * time.Second},
		{"soon", 10 * time.Second},
		{"", 10 * time.Second},
	} {
		t.Run(tc.text, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server := runpodtest.New(runpodtest.Options{PingInterval: 10 * time.Second})
				environ := server.Env()
				environ["RUNPOD_PING_INTERVAL"] = tc.text
				cfg, err := runpod.LoadConfig(environ)
				require.NoError(t, err)
				cfg.Transport = server.Transport()
				ctx, stop := context.WithTimeout(t.Context(), 25*time.Second)
				defer stop()
				require.NoError(t, runpod.Start(ctx, echo, cfg))
				require.Equal(t, tc.want, server.LongestPause())
				require.NoError(t, server.Close())
			})
		})
	}
}

func TestHeartbeatsRunWhileTheEngineLoads(t *testing.T) {
	inBubble(t, setup{config: func(c *runpod.Config) {
		c.Prepare = func(context.Context) error {
			time.Sleep(30 * time.Second)
			return nil
		}
	}}, echo, func(r *rig) {
		id := r.Submit(1)
		time.Sleep(29 * time.Second)
		synctest.Wait()
		require.Empty(t, r.Takes(), "no job is taken before the engine is ready")
		require.Len(t, r.Pings(), 30)
		r.wait(id)
	})
}

func TestFailedStartIsToldToThePlatformAndTheNextJob(t *testing.T) {
	for _, tc := range []struct {
		name    string
		prepare func(context.Context) error
		phase   string
		want    string
	}{
		{"error", func(ctx context.Context) error {
			return runpod.NewPhases(zerolog.Nop()).Run(ctx, "load", func(context.Context) error { return errors.New("no such file") })
		}, "load", "no such file"},
		{"deadline", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }, "start", "RUNPOD_INIT_TIMEOUT"},
		{"deaf", func(context.Context) error { time.Sleep(time.Hour); return nil }, "start", "not ready after 1m0s"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server := runpodtest.New(runpodtest.Options{})
				cfg, err := runpod.LoadConfig(server.Env())
				require.NoError(t, err)
				cfg.Transport, cfg.Prepare, cfg.StartTimeout = server.Transport(), tc.prepare, 60
				id := server.Submit(1)
				err = runpod.Start(t.Context(), echo, cfg)
				require.ErrorContains(t, err, tc.want)
				final := server.Job(id).Finals[0]
				require.Contains(t, final.Error, `"event":"prestart_failed"`)
				require.Contains(t, final.Error, tc.want)
				pings := server.Pings()
				last := pings[len(pings)-1]
				require.True(t, last.Unhealthy)
				require.Equal(t, tc.phase, last.Check)
				require.Contains(t, last.Reason, tc.want)
				require.NoError(t, server.Close())
				time.Sleep(2 * time.Hour)
				require.Empty(t, server.Violations())
			})
		})
	}
}

func TestFailedStartWithoutAJobEndsSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := runpodtest.New(runpodtest.Options{})
		cfg, err := runpod.LoadConfig(server.Env())
		require.NoError(t, err)
		cfg.Transport = server.Transport()
		cfg.Prepare = func(context.Context) error { return errors.New(strings.Repeat("long ", 200)) }
		start := time.Now()
		require.Error(t, runpod.Start(t.Context(), echo, cfg))
		require.Less(t, time.Since(start), 15*time.Second)
		i := slices.IndexFunc(server.Pings(), func(p runpodtest.Ping) bool { return p.Unhealthy })
		require.Len(t, server.Pings()[i].Reason, 256)
		require.NoError(t, server.Close())
	})
}
