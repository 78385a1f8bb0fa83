package fetch

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
)

// getJSON decodes the reply of an API, with the retries and the errors of a
// download.
func (f *Fetcher) getJSON(ctx context.Context, src Source, reply any) error {
	err := f.retry(ctx, func() error {
		resp, err := f.get(ctx, f.client(src), src.URL, src, "")
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return f.statusError(src, resp)
		}
		if err := json.NewDecoder(io.LimitReader(resp.Body, maxReply)).Decode(reply); err != nil {
			return fmt.Errorf("%s: %w", src.label(), err)
		}
		return nil
	})
	return f.failure(src, err)
}
