package mcp

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"sdworker/api/a1111"
	"sdworker/inference"
	"sdworker/inference/imageio"
)

// newID is the id of a job.
func newID() string { return "task(mcp-" + strings.ToLower(rand.Text()[:12]) + ")" }

// call runs a request of the API and tells the client meanwhile how far it is.
func (s *Server) call(ctx context.Context, req *sdk.CallToolRequest, route string, in, out any) error {
	place, err := s.cfg.Queue.Reserve(ctx)
	if err != nil {
		return err
	}
	defer place.Release()
	ctx = inference.WithPlace(ctx, place)
	told := func() {}
	if token := req.Params.GetProgressToken(); token != nil {
		ctx, told = tellProgress(ctx, req.Session, token)
	}
	err = s.cfg.API.Call(ctx, route, in, out)
	told()
	var fault *a1111.Fault
	if errors.As(err, &fault) && fault.Class != "" && fault.Class != a1111.HTTPException {
		return fmt.Errorf("%s: %w", fault.Class, fault)
	}
	return err
}

// percent is a share with one digit behind the point.
func percent(fraction float64) float64 { return math.Round(1000*fraction) / 10 }

// tellProgress sends the progress of the job that is made under the context it
// returns. What the client cannot take in time is left out. end waits for the last
// notification.
func tellProgress(ctx context.Context, session *sdk.ServerSession, token any) (observed context.Context, end func()) {
	latest := make(chan inference.Event, 1)
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		last := -1.0
		for e := range latest {
			now := percent(e.Job.Progress.Fraction())
			if e.Kind != inference.Progressed || now <= last { // the protocol wants it to grow
				continue
			}
			last = now
			_ = session.NotifyProgress(ctx, &sdk.ProgressNotificationParams{ProgressToken: token, Progress: now, Total: 100, Message: string(e.Job.Progress.Phase)})
		}
	}()
	observed = inference.WithObserver(ctx, func(e inference.Event) {
		select {
		case <-latest:
		default:
		}
		latest <- e
	})
	return observed, func() {
		close(latest)
		<-sent
	}
}

// decode reads a picture that a client sent and returns it as base64 without the
// header of a data URL, with its size.
func decode(name, text string) (raw string, w, h int, err error) {
	if strings.HasPrefix(text, "data:") {
		_, text, _ = strings.Cut(text, ",")
	}
	data, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
	if err == nil {
		w, h, err = imageio.Size(data)
	}
	if err != nil {
		return "", 0, 0, fmt.Errorf("%s is no picture in base64", name)
	}
	return base64.StdEncoding.EncodeToString(data), w, h, nil
}

// convert writes a PNG of the API in another format.
func convert(data []byte, format string) (out []byte, mime string, err error) {
	mime = mimeTypes[format]
	if mime == mimeTypes["png"] {
		return data, mime, nil
	}
	m, err := imageio.Decode(data, imageio.MaxPixels)
	if err != nil {
		return nil, "", err
	}
	const quality = 90
	pixels := m.RGB([3]uint8{255, 255, 255})
	if format == "webp" {
		out, err = imageio.EncodeWebP(pixels, quality, false, "")
	} else {
		out, err = imageio.EncodeJPEG(pixels, quality, "")
	}
	return out, mime, err
}

func sortedKeys(m map[string]any) []string { return slices.Sorted(maps.Keys(m)) }
