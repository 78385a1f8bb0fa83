package bench

import (
	"context"
	"errors"
	"io"
	"os"
	"time"

	"sdworker/inference"
	"sdworker/models/diskread"
)

// LoadReport compares loading a checkpoint with reading its file.
type LoadReport struct {
	Machine Machine   `json:"machine"`
	File    string    `json:"file"`
	Bytes   int64     `json:"bytes"`
	Cold    LoadTimes `json:"cold"` // the file is not in the page cache
	Warm    LoadTimes `json:"warm"`
}

// LoadTimes are seconds and what follows from them.
type LoadTimes struct {
	Read     float64 `json:"read_s"` // plain read, front to back
	Open     float64 `json:"open_s"` // engine ready
	ReadGBps float64 `json:"read_gb_per_s"`
	OpenGBps float64 `json:"open_gb_per_s"`
	Share    float64 `json:"open_share_of_read"` // 1 = as fast as a plain read
}

// Load measures both with a cold and a warm page cache.
func Load(ctx context.Context, checkpoint string, open inference.OpenFunc) (*LoadReport, error) {
	info, err := os.Stat(checkpoint)
	if err != nil {
		return nil, err
	}
	r := &LoadReport{Machine: ThisMachine(), File: checkpoint, Bytes: info.Size()}
	for _, m := range []struct {
		times *LoadTimes
		cold  bool
	}{{&r.Cold, true}, {&r.Warm, false}} {
		if m.times.Read, err = timed(checkpoint, m.cold, func() error { return readAll(ctx, checkpoint) }); err != nil {
			return nil, err
		}
		if m.times.Open, err = timed(checkpoint, m.cold, func() error {
			engine, err := open(ctx, checkpoint, nil)
			if err != nil {
				return err
			}
			return engine.Close()
		}); err != nil {
			return nil, err
		}
		m.times.ReadGBps = float64(r.Bytes) / 1e9 / m.times.Read
		m.times.OpenGBps = float64(r.Bytes) / 1e9 / m.times.Open
		m.times.Share = m.times.Read / m.times.Open
	}
	return r, nil
}

// timed measures fn, after the file was dropped from the page cache if cold.
func timed(path string, cold bool, fn func() error) (float64, error) {
	if cold {
		if err := diskread.Evict(path); err != nil {
			return 0, err
		}
	}
	start := time.Now()
	err := fn()
	return time.Since(start).Seconds(), err
}

func readAll(ctx context.Context, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	buf := make([]byte, 8<<20)
	for ctx.Err() == nil {
		if _, err := f.Read(buf); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
	return ctx.Err()
}
