// Package bucket uploads results to an S3-compatible bucket and returns presigned
// URLs, by the variables and with the object layout of RunPod's SDK.
package bucket

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"regexp"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// linkLife is how long a presigned URL is valid: the SDK's 7 days, which is also
// the most that signature version 4 allows.
const linkLife = 7 * 24 * time.Hour

// tries is the number of attempts of one upload, as in the SDK.
const tries = 3

// Config names a bucket.
type Config struct {
	EndpointURL string `env:"BUCKET_ENDPOINT_URL" doc:"S3 endpoint for results; it may contain the bucket, in its host (https://bucket.s3.region.amazonaws.com) or as its path"`
	AccessKey   string `env:"BUCKET_ACCESS_KEY_ID" secret:"true" doc:"S3 access key id"`
	SecretKey   string `env:"BUCKET_SECRET_ACCESS_KEY,unset" secret:"true" doc:"S3 secret access key"`
	Name        string `env:"BUCKET_NAME" doc:"bucket; default the one in BUCKET_ENDPOINT_URL, else month and year such as 11-26, as in RunPod's SDK"`
	Region      string `env:"BUCKET_REGION" doc:"region of the bucket; default the one in BUCKET_ENDPOINT_URL, else us-east-1"`
	Prefix      string `env:"BUCKET_PREFIX" doc:"path in front of the object names"`

	// Transport, if not nil, carries the requests.
	Transport http.RoundTripper
}

// Bucket is a place for results.
type Bucket struct {
	client *minio.Client
	place  place
	cfg    Config
	now    func() time.Time
}

// Open checks cfg and returns the bucket; nothing is sent yet. It returns nil
// without an error when no endpoint is set.
func Open(cfg Config) (*Bucket, error) {
	if cfg.EndpointURL == "" {
		return nil, nil
	}
	if cfg.AccessKey == "" || cfg.SecretKey == "" {
		return nil, errors.New("BUCKET_ENDPOINT_URL is set, but BUCKET_ACCESS_KEY_ID or BUCKET_SECRET_ACCESS_KEY is not; set all three")
	}
	p, err := locate(cfg.EndpointURL)
	if err != nil {
		return nil, err
	}
	if cfg.Region != "" {
		p.region = cfg.Region
	}
	client, err := minio.New(p.host, &minio.Options{
		Creds:        credentials.NewStaticV4(cfg.AccessKey, cfg.SecretKey, ""),
		Secure:       p.secure,
		Region:       p.region,
		BucketLookup: minio.BucketLookupPath,
		Transport:    cfg.Transport,
		MaxRetries:   tries,
	})
	if err != nil {
		return nil, fmt.Errorf("BUCKET_ENDPOINT_URL %q: %w", cfg.EndpointURL, err)
	}
	return &Bucket{client: client, place: p, cfg: cfg, now: time.Now}, nil
}

// place is what an endpoint URL says about a bucket.
type place struct {
	host   string // without the bucket
	secure bool
	region string
	bucket string // "" when the URL does not name one
	prefix string // path inside the bucket
}

// Hosts that carry the bucket in front, and regions in hosts.
var (
	bucketInHost = []*regexp.Regexp{
		regexp.MustCompile(`^(.+)\.(s3[.-].*amazonaws\.com(?:\.cn)?)$`),
		regexp.MustCompile(`^(.+)\.(s3\.[a-z0-9-]+\.backblazeb2\.com)$`),
		regexp.MustCompile(`^(.+)\.([a-z0-9]+\.digitaloceanspaces\.com)$`),
	}
	regionInHost = []*regexp.Regexp{
		regexp.MustCompile(`(?:^|\.)s3[.-](?:dualstack\.)?([a-z0-9-]+)\.[a-z0-9-]+\.[a-z]`), // not the domain of s3.example.com
		regexp.MustCompile(`(?:^|\.)([a-z0-9]+)\.digitaloceanspaces\.com$`),
	}
)

func locate(endpoint string) (place, error) {
	u, err := url.Parse(endpoint)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return place{}, fmt.Errorf("BUCKET_ENDPOINT_URL %q is not a URL; it should look like https://bucket.s3.eu-west-1.amazonaws.com", endpoint)
	}
	p := place{host: u.Host, secure: u.Scheme == "https", region: "us-east-1"}
	for _, re := range regionInHost {
		if m := re.FindStringSubmatch(u.Hostname()); m != nil {
			p.region = m[1]
			break
		}
	}
	for _, re := range bucketInHost {
		if m := re.FindStringSubmatch(u.Host); m != nil {
			p.bucket, p.host = m[1], m[2]
			break
		}
	}
	p.prefix = strings.Trim(path.Clean("/"+u.Path), "/")
	if p.bucket == "" && p.prefix != "" {
		p.bucket, p.prefix, _ = strings.Cut(p.prefix, "/")
	}
	return p, nil
}

// object returns bucket and key of a new object of a job. Where the endpoint
// names the bucket, the SDK's default bucket name becomes a folder in it.
func (b *Bucket) object(job, ext string) (bucket, key string) {
	var random [4]byte
	_, _ = rand.Read(random[:]) // never fails
	name := b.cfg.Name
	if name == "" {
		name = b.now().UTC().Format("01-06")
	}
	file := path.Join(b.cfg.Prefix, job, hex.EncodeToString(random[:])+"."+ext)
	if b.place.bucket == "" {
		return name, file
	}
	if name == b.place.bucket {
		name = ""
	}
	return b.place.bucket, path.Join(b.place.prefix, name, file)
}

// Put uploads one picture of a job and returns a URL that gives it back for 7
// days. ext is the file extension without the dot: png, jpg or webp.
func (b *Bucket) Put(ctx context.Context, job string, picture []byte, ext string) (string, error) {
	kind := ext
	if kind == "jpg" {
		kind = "jpeg"
	}
	bucket, key := b.object(job, ext)
	_, err := b.client.PutObject(ctx, bucket, key, bytes.NewReader(picture), int64(len(picture)), minio.PutObjectOptions{
		ContentType:      "image/" + kind,
		DisableMultipart: true,
	})
	if err != nil {
		return "", fmt.Errorf("the result could not be uploaded to bucket %q at %s: %w", bucket, b.place.host, err)
	}
	link, err := b.client.PresignedGetObject(ctx, bucket, key, linkLife, nil)
	if err != nil {
		return "", fmt.Errorf("no link to the uploaded result: %w", err)
	}
	return link.String(), nil
}
