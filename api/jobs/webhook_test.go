package jobs_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"sdworker/api/a1111"
	"sdworker/api/jobs"
	"sdworker/api/sdapi"
	"sdworker/api/sdapi/generation"
	"sdworker/api/sdapi/sdapitest"
	"sdworker/inference"
	"sdworker/internal/publicnet"
)

// What a try can end with beside a status.
const (
	broken = -iota
	private
)

// receiver stands for the address of a webhook.
type receiver struct {
	mu     sync.Mutex
	status []int // of the tries in turn, the last one from then on; or broken, private
	at     []time.Time
	got    []*http.Request
	bodies []string
}

func (r *receiver) RoundTrip(req *http.Request) (*http.Response, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	status := r.status[min(len(r.got), len(r.status)-1)]
	r.at, r.got, r.bodies = append(r.at, time.Now()), append(r.got, req), append(r.bodies, string(body))
	switch status {
	case broken:
		return nil, errors.New("connection reset")
	case private:
		return nil, fmt.Errorf("example.com is 10.0.0.1: %w", publicnet.ErrNotPublic)
	}
	return &http.Response{StatusCode: status, Body: http.NoBody, Header: http.Header{"Location": {"https://elsewhere.example/"}}, Request: req}, nil
}

// hooked is a server of jobs whose webhooks go to a receiver.
type hooked struct {
	t        *testing.T
	jobs     *jobs.Server
	gen      *sdapitest.Generator
	receiver *receiver
}

var hookSecret = []byte("0123456789abcdef0123456789abcdef")

func startHooked(t *testing.T, status ...int) *hooked {
	t.Helper()
	h := &hooked{t: t, gen: &sdapitest.Generator{}, receiver: &receiver{status: status}}
	queue := inference.NewQueue(h.gen, inference.QueueOptions{})
	api, err := sdapi.New(sdapi.Config{Config: generation.Config{Queue: queue, Catalog: sdapitest.NewCatalog().Catalog, Hashes: sdapitest.NewCatalog(), Log: zerolog.Nop()}})
	require.NoError(t, err)
	h.jobs = jobs.New(jobs.Config{API: a1111.Client{Handler: api}, Queue: queue, Keep: 24 * time.Hour, Webhooks: jobs.Webhooks{Secret: hookSecret, Transport: h.receiver}})
	t.Cleanup(func() {
		require.NoError(t, h.jobs.Close())
		require.NoError(t, api.Close())
	})
	return h
}

func (h *hooked) do(method, path, body string) (int, map[string]any) {
	h.t.Helper()
	w := httptest.NewRecorder()
	h.jobs.ServeHTTP(w, httptest.NewRequestWithContext(h.t.Context(), method, path, strings.NewReader(body)))
	var out map[string]any
	require.NoError(h.t, json.Unmarshal(w.Body.Bytes(), &out), "%s", w.Body)
	return w.Code, out
}

func (h *hooked) submit(more string) string {
	h.t.Helper()
	status, out := h.do("POST", "/v1/jobs", `{"endpoint": "txt2img", "webhook": "https://example.com/hook?key=hidden", "input": {"prompt": "x", "steps": 1, "width": 64, "height": 64`+more+`}}`)
	require.Equal(h.t, http.StatusAccepted, status, "%v", out)
	return out["id"].(string)
}

// webhook is what GET says of the delivery.
func (h *hooked) webhook(id string) map[string]any {
	h.t.Helper()
	_, out := h.do("GET", "/v1/jobs/"+id, "")
	return out["webhook"].(map[string]any)
}

func TestWebhookTellsTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := startHooked(t, 200)
		id := h.submit("")
		synctest.Wait()
		require.Len(t, h.receiver.got, 1)
		req, body := h.receiver.got[0], h.receiver.bodies[0]
		require.Equal(t, "https://example.com/hook?key=hidden", req.URL.String())
		require.Equal(t, http.MethodPost, req.Method)
		var told struct {
			Type      string
			Timestamp time.Time
			Data      map[string]any
		}
		require.NoError(t, json.Unmarshal([]byte(body), &told))
		require.Equal(t, "job.completed", told.Type)
		require.Equal(t, id, told.Data["id"])
		require.Equal(t, "completed", told.Data["status"])
		require.NotContains(t, told.Data, "output")
		require.NotContains(t, told.Data, "webhook")

		// As standardwebhooks.com says: HMAC-SHA256 of "id.timestamp.body".
		stamp := req.Header.Get("Webhook-Timestamp")
		mac := hmac.New(sha256.New, hookSecret)
		mac.Write([]byte(req.Header.Get("Webhook-Id") + "." + stamp + "." + body))
		require.Equal(t, "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)), req.Header.Get("Webhook-Signature"))
		require.Equal(t, strconv.FormatInt(time.Now().Unix(), 10), stamp)

		state := h.webhook(id)
		require.Equal(t, "delivered", state["status"])
		require.InDelta(t, 1, state["attempts"], 0)
		require.InDelta(t, 200, state["response_status"], 0)
		require.Equal(t, "https://example.com/hook", state["url"], "without its query")
		time.Sleep(12 * time.Hour)
		synctest.Wait()
		require.Len(t, h.receiver.got, 1, "once")
	})
}

func TestWebhookIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := startHooked(t, broken, 503, 429, 204)
		id := h.submit("")
		synctest.Wait()
		state := h.webhook(id)
		require.Equal(t, "pending", state["status"])
		require.Equal(t, "connection reset", state["error"])
		time.Sleep(time.Hour)
		synctest.Wait()
		require.Len(t, h.receiver.got, 4)
		require.Equal(t, "delivered", h.webhook(id)["status"])
		ids := map[string]bool{}
		for i, r := range h.receiver.got {
			ids[r.Header.Get("Webhook-Id")] = true
			if i > 0 {
				pause := h.receiver.at[i].Sub(h.receiver.at[i-1])
				base := 5 * time.Second << (i - 1)
				require.InDelta(t, base.Seconds(), pause.Seconds(), base.Seconds()/2+0.001)
			}
		}
		require.Len(t, ids, 1, "one message, so that a receiver can tell repetitions")
	})
}

func TestWebhookGivesUp(t *testing.T) {
	for name, tc := range map[string]struct {
		status, tries int
		err           string
	}{
		"unavailable": {500, 10, "the receiver answered with status 500"},
		"refused":     {403, 1, "the receiver answered with status 403"},
		"gone":        {410, 1, "the receiver answered with status 410"},
		"private":     {private, 1, "example.com is 10.0.0.1: the address is not public"},
		"redirect":    {302, 1, "the receiver answered with status 302"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := startHooked(t, tc.status)
				id := h.submit("")
				time.Sleep(6 * time.Hour)
				synctest.Wait()
				require.Len(t, h.receiver.got, tc.tries)
				state := h.webhook(id)
				require.Equal(t, "failed", state["status"])
				require.Equal(t, tc.err, state["error"])
			})
		})
	}
}

func TestWebhookOfOtherEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := startHooked(t, 200)
		h.gen.Fail = errors.New("out of luck")
		h.submit("")
		synctest.Wait()
		require.Contains(t, h.receiver.bodies[0], `"type":"job.failed"`)
		status, _ := h.do("POST", "/v1/jobs", `{"endpoint": "txt2img", "webhook": "https://example.com/", "input": {"steps": "many"}}`)
		require.Equal(t, 422, status)
		synctest.Wait()
		require.Len(t, h.receiver.got, 1, "a refused request is no job")
	})
}

func TestWebhookAtTheEndOfTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := startHooked(t, 503)
		h.submit("")
		synctest.Wait()
		began := time.Now()
		require.NoError(t, h.jobs.Close())
		require.Equal(t, began, time.Now(), "no pause is waited for")
		require.Len(t, h.receiver.got, 2, "once more")
	})
}

func TestWebhookAddresses(t *testing.T) {
	h := startHooked(t, 200)
	for address, text := range map[string]string{
		"http://example.com/": "must be an https address", "ftp://example.com/": "must be an https address", "https://": "no address", "nonsense": "no address",
		"https://user:pass@example.com/": "no address", "https://127.0.0.1/": "public address", "https://[::1]/": "public address", "https://169.254.169.254/x": "public address",
		"https://10.0.0.1:8443/": "public address", "https://localhost/": "public address", "https://e.example/" + strings.Repeat("x", 3000): "no address",
	} {
		status, out := h.do("POST", "/v1/jobs", `{"endpoint": "txt2img", "webhook": "`+address+`", "input": {}}`)
		require.Equal(t, 422, status, address)
		require.Contains(t, fmt.Sprint(out), text, address)
	}
	none := jobs.New(jobs.Config{Queue: inference.NewQueue(h.gen, inference.QueueOptions{})})
	defer none.Close()
	w := httptest.NewRecorder()
	none.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "POST", "/v1/jobs", strings.NewReader(`{"endpoint": "txt2img", "webhook": "https://example.com/", "input": {}}`)))
	require.Contains(t, w.Body.String(), "WEBHOOK_SECRET")
}

func TestParseSecret(t *testing.T) {
	raw, err := jobs.ParseSecret("whsec_" + base64.StdEncoding.EncodeToString(hookSecret))
	require.NoError(t, err)
	require.Equal(t, hookSecret, raw)
	for _, text := range []string{"", "whsec_", "abc", "whsec_!!", "whsec_" + base64.StdEncoding.EncodeToString([]byte("short")), base64.StdEncoding.EncodeToString(hookSecret)} {
		_, err := jobs.ParseSecret(text)
		require.Error(t, err, text)
	}
}
