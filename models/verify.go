package models

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"sdworker/fault"
	"sdworker/formats"
	"sdworker/formats/safetensors"
	"sdworker/models/diskread"
)

// Report is what a full reading of a file found.
type Report struct {
	Info     *Info
	SHA256   string
	Bad      int64  // values that are infinite or not a number
	FirstBad string // the first tensor with one
	Read     diskread.Stats
}

// Verify reads a whole file: header, sha256, and in safetensors every value. It
// fails like Check, and with code Invalid if the digest is not the expected one
// ("" expects none). Bad values are reported and no error: some published files
// have a few.
func Verify(ctx context.Context, path, expected string) (Report, error) {
	info, err := Inspect(path)
	if err != nil {
		return Report{}, err
	}
	r := Report{Info: info}
	f, err := os.Open(path)
	if err != nil {
		return r, openError(path, err)
	}
	defer f.Close()
	r.SHA256, r.Read, err = diskread.SHA256(ctx, f, 0)
	if err != nil {
		return r, readError(path, err)
	}
	if expected != "" && r.SHA256 != expected {
		return r, refuse(path, "has the sha256 %s where %s is expected", r.SHA256, expected)
	}
	if info.Format == formats.Safetensors {
		r.Bad, r.FirstBad, err = badValues(ctx, path)
		if err != nil {
			return r, readError(path, err)
		}
	}
	return r, nil
}

func readError(path string, err error) error {
	code := fault.Internal
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		code = fault.Canceled
	}
	return &fault.Error{Code: code, Op: "models", Msg: "cannot read " + path, Err: err}
}

// badValues counts the values that are not finite and names the first tensor,
// in file order, that has one.
func badValues(ctx context.Context, path string) (total int64, first string, err error) {
	file, err := safetensors.Open(path)
	if err != nil {
		return 0, "", err
	}
	defer file.Close()
	counts := make([]atomic.Int64, len(file.Tensors))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(4)
	for i, t := range file.Tensors {
		if !t.DType.IsFloat() {
			continue
		}
		group.Go(func() error {
			return eachBlock(ctx, file, t, func(values []float32) {
				for _, v := range values {
					if math.Float32bits(v)&0x7f800000 == 0x7f800000 {
						counts[i].Add(1)
					}
				}
			})
		})
	}
	if err := group.Wait(); err != nil {
		return 0, "", err
	}
	for i := range counts {
		n := counts[i].Load()
		if n > 0 && first == "" {
			first = file.Tensors[i].Name
		}
		total += n
	}
	return total, first, nil
}

// eachBlock decodes a tensor piece by piece.
func eachBlock(ctx context.Context, file *safetensors.File, t safetensors.Tensor, use func([]float32)) error {
	const block = 256 << 10
	raw := make([]byte, min(block, t.Elements())*t.DType.Size())
	values := make([]float32, min(block, t.Elements()))
	for at := int64(0); at < t.Size; at += int64(len(raw)) {
		if err := ctx.Err(); err != nil {
			return err
		}
		raw = raw[:min(int64(len(raw)), t.Size-at)]
		values = values[:int64(len(raw))/t.DType.Size()]
		if n, err := file.Raw(t).ReadAt(raw, at); n < len(raw) {
			return fmt.Errorf("tensor %s: %w", t.Name, err)
		}
		if err := safetensors.Decode(values, raw, t.DType); err != nil {
			return err
		}
		use(values)
	}
	return nil
}
