package bridge

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"golang.org/x/sync/errgroup"

	"sdworker/api/runpod"
	"sdworker/api/runpod/bucket"
	"sdworker/internal/span"
)

// Values of Config.Upload.
const (
	uploadAlways = "always"
	uploadLarge  = "large"
)

// uploadsAtOnce bounds the parallel uploads of one job.
const uploadsAtOnce = 4

// pictureRoutes answer with pictures, in images or image.
var pictureRoutes = map[string]bool{
	txt2img: true, img2img: true,
	"sdapi/v1/extra-single-image": true,
	"sdapi/v1/extra-batch-images": true,
}

// deliver turns the API's reply into the job's output: as it is, with links to
// uploaded pictures, or with smaller pictures.
func (b *bridge) deliver(ctx context.Context, job runpod.Job, c call, body runpod.Verbatim) (any, error) {
	tooLarge := len(body) > job.MaxOutput()
	if !pictureRoutes[c.endpoint] {
		if tooLarge {
			return nil, fmt.Errorf("the answer of /%s has %s, more than RunPod takes (%s)", c.endpoint, megabytes(len(body)), megabytes(job.MaxOutput()))
		}
		return body, nil
	}
	store, err := b.storeFor(job)
	if err != nil {
		return nil, err
	}
	if store != nil && (tooLarge || b.Upload == uploadAlways || job.S3 != nil) {
		ctx, end := span.Start(ctx, "upload")
		defer end()
		return replacePictures(ctx, body, func(ctx context.Context, picture []byte) (string, error) {
			return store.Put(ctx, job.ID, picture, extension(picture))
		})
	}
	if !tooLarge {
		return body, nil
	}
	if b.Recode != nil && b.Format != "" {
		for _, quality := range b.qualities() {
			smaller, err := replacePictures(ctx, body, func(_ context.Context, picture []byte) (string, error) {
				recoded, err := b.Recode(picture, b.Format, quality)
				return base64.StdEncoding.EncodeToString(recoded), err
			})
			if err != nil {
				return nil, err
			}
			if len(smaller) <= job.MaxOutput() {
				return smaller, nil
			}
		}
	}
	return nil, fmt.Errorf("the images have %s, more than RunPod takes for this kind of request (%s); ask for fewer or smaller images in one job, send s3Config or set BUCKET_ENDPOINT_URL to get links, or set RUNPOD_RECODE=jpeg", megabytes(len(body)), megabytes(job.MaxOutput()))
}

// qualities are the steps tried until a result fits.
func (b *bridge) qualities() []int {
	list := []int{b.Quality}
	for _, q := range []int{75, 60} {
		if q < b.Quality {
			list = append(list, q)
		}
	}
	return list
}

// storeFor returns the bucket of the job, or the worker's, or nil.
func (b *bridge) storeFor(job runpod.Job) (*bucket.Bucket, error) {
	if job.S3 == nil || job.S3.EndpointURL == "" {
		return b.store, nil
	}
	// A job's own endpoint must not lead into the worker's network.
	transport := b.Bucket.Transport
	if transport == nil && !b.PrivateBuckets {
		transport = b.public
	}
	store, err := bucket.Open(bucket.Config{
		EndpointURL: job.S3.EndpointURL, AccessKey: job.S3.AccessID, SecretKey: job.S3.AccessSecret,
		Name: job.S3.BucketName, Prefix: job.S3.ObjectPath, Transport: transport,
	})
	if err != nil {
		return nil, fmt.Errorf("s3Config: %w", err)
	}
	return store, nil
}

// replacePictures calls replace for every picture of a reply and puts the text it
// returns in the picture's place. Entries that are no base64 stay.
func replacePictures(ctx context.Context, body runpod.Verbatim, replace func(context.Context, []byte) (string, error)) (runpod.Verbatim, error) {
	var reply object
	if err := json.Unmarshal(body, &reply); err != nil {
		return body, nil //nolint:nilerr // not an object: no pictures
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(uploadsAtOnce)
	change := func(text *string) {
		picture, err := base64.StdEncoding.DecodeString(withoutDataURI(*text))
		if err != nil || len(picture) == 0 {
			return
		}
		group.Go(func() (err error) {
			*text, err = replace(ctx, picture)
			return err
		})
	}
	var images []string
	hasImages := reply.has("images") && json.Unmarshal(reply["images"], &images) == nil
	for i := range images {
		change(&images[i])
	}
	image, hasImage := reply.text("image")
	if hasImage {
		change(&image)
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	if hasImages {
		reply["images"], _ = json.Marshal(images) // strings always encode
	}
	if hasImage {
		reply["image"], _ = json.Marshal(image)
	}
	return json.Marshal(reply)
}

func withoutDataURI(s string) string {
	if strings.HasPrefix(s, "data:") {
		if _, data, ok := strings.Cut(s, ";base64,"); ok {
			return data
		}
	}
	return s
}

// extension names a picture's type by its first bytes.
func extension(picture []byte) string {
	switch http.DetectContentType(picture) {
	case "image/jpeg":
		return "jpg"
	case "image/webp":
		return "webp"
	default:
		return "png"
	}
}

func megabytes(n int) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }
