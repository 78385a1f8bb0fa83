package bucket_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sdworker/api/runpod/bucket"
)

// recorded is a transport that accepts every upload.
type recorded struct{ url, auth, kind string }

func (r *recorded) RoundTrip(req *http.Request) (*http.Response, error) {
	_, _ = io.Copy(io.Discard, req.Body)
	r.url, r.auth, r.kind = req.URL.String(), req.Header.Get("Authorization"), req.Header.Get("Content-Type")
	return &http.Response{StatusCode: 200, Header: http.Header{"Etag": {`"1"`}}, Body: http.NoBody, Request: req}, nil
}

func TestObjectsLieWhereTheSDKPutsThem(t *testing.T) {
	month := time.Now().UTC().Format("01-06")
	for _, tc := range []struct{ name, endpoint, bucket, prefix, want, region string }{
		{"AWS, bucket in host", "https://mine.s3.eu-west-1.amazonaws.com", "", "", "s3.dualstack.eu-west-1.amazonaws.com/mine/" + month + "/j", "eu-west-1"},
		{"AWS, no bucket", "https://s3.eu-west-1.amazonaws.com", "", "", "s3.dualstack.eu-west-1.amazonaws.com/" + month + "/j", "eu-west-1"},
		{"AWS, named", "https://s3.eu-west-1.amazonaws.com", "mine", "", "s3.dualstack.eu-west-1.amazonaws.com/mine/j", "eu-west-1"},
		{"named twice", "https://mine.s3.eu-west-1.amazonaws.com", "mine", "", "s3.dualstack.eu-west-1.amazonaws.com/mine/j", "eu-west-1"},
		{"Backblaze", "https://mine.s3.us-west-000.backblazeb2.com", "", "", "s3.us-west-000.backblazeb2.com/mine/" + month + "/j", "us-west-000"},
		{"DigitalOcean", "https://mine.nyc3.digitaloceanspaces.com", "", "", "nyc3.digitaloceanspaces.com/mine/" + month + "/j", "nyc3"},
		{"bucket in path", "https://acc.r2.cloudflarestorage.com/mine", "", "", "acc.r2.cloudflarestorage.com/mine/" + month + "/j", "us-east-1"},
		{"bucket and folder in path", "https://host:9000/mine/folder/", "x", "", "host:9000/mine/folder/x/j", "us-east-1"},
		{"AWS, global", "https://my.bucket.s3.amazonaws.com", "", "", "s3.dualstack.us-east-1.amazonaws.com/my.bucket/" + month + "/j", "us-east-1"},
		{"region in another provider's host", "https://s3.eu-central-1.wasabisys.com", "mine", "", "s3.eu-central-1.wasabisys.com/mine/j", "eu-central-1"},
		{"own domain", "https://s3.example.com", "mine", "", "s3.example.com/mine/j", "us-east-1"},
		{"plain host", "http://minio:9000", "mine", "out/put", "minio:9000/mine/out/put/j", "us-east-1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			wire := &recorded{}
			b, err := bucket.Open(bucket.Config{EndpointURL: tc.endpoint, AccessKey: "id", SecretKey: "secret", Name: tc.bucket, Prefix: tc.prefix, Transport: wire})
			require.NoError(t, err)
			link, err := b.Put(t.Context(), "j", []byte("x"), "jpg")
			require.NoError(t, err)
			require.Regexp(t, "^https?://"+tc.want+`/[0-9a-f]{8}\.jpg$`, wire.url)
			require.Contains(t, wire.auth, "/"+tc.region+"/s3/aws4_request")
			require.Equal(t, "image/jpeg", wire.kind)
			require.True(t, strings.HasPrefix(link, wire.url+"?"), link)
			require.Contains(t, link, "X-Amz-Expires=604800")
		})
	}
}

func TestRegionCanBeSet(t *testing.T) {
	wire := &recorded{}
	b, err := bucket.Open(bucket.Config{EndpointURL: "https://s3.internal.example.com/mine", AccessKey: "id", SecretKey: "s", Region: "here", Transport: wire})
	require.NoError(t, err)
	_, err = b.Put(t.Context(), "j", []byte("x"), "png")
	require.NoError(t, err)
	require.Contains(t, wire.auth, "/here/s3/aws4_request")
}

func TestOpen(t *testing.T) {
	b, err := bucket.Open(bucket.Config{})
	require.NoError(t, err)
	require.Nil(t, b)
	_, err = bucket.Open(bucket.Config{EndpointURL: "https://x", AccessKey: "id"})
	require.ErrorContains(t, err, "BUCKET_SECRET_ACCESS_KEY")
	for _, endpoint := range []string{"bucket.s3.amazonaws.com", "ftp://x", "https://", "::"} {
		_, err = bucket.Open(bucket.Config{EndpointURL: endpoint, AccessKey: "id", SecretKey: "s"})
		require.ErrorContains(t, err, "is not a URL")
	}
}
