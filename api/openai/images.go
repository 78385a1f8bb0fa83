package openai

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"mime/multipart"
	"net/http"
	"strconv"
	"strings"
	"time"

	"sdworker/api/a1111"
	"sdworker/inference"
	"sdworker/inference/imageio"
)

// reserve takes a place in the queue for the request before its body costs memory.
func (s *Server) reserve(r *http.Request) (_ *http.Request, release func(), err error) {
	place, err := s.cfg.Queue.Reserve(r.Context())
	if err != nil {
		e := unreadable(err)
		e.Code = text("rate_limit_exceeded")
		return nil, nil, e
	}
	return r.WithContext(inference.WithPlace(r.Context(), place)), place.Release, nil
}

// generate handles POST /v1/images/generations.
func (s *Server) generate(w http.ResponseWriter, r *http.Request) error {
	r, release, err := s.reserve(r)
	if err != nil {
		return err
	}
	defer release()
	b, err := readJSON(r)
	if err != nil {
		return err
	}
	q, err := s.translate(r.Context(), b)
	if err != nil {
		return err
	}
	q.path, q.event = a1111.Txt2Img, "image_generation"
	return s.answer(w, r, q)
}

// pictured is a form that brings one picture.
type pictured struct {
	body    body
	form    *multipart.Form
	data    []byte // the file of the picture
	picture imageio.Decoded
}

// withPicture handles forms with one picture by next, once there is a place in the
// queue for their job.
func (s *Server) withPicture(next func(http.ResponseWriter, *http.Request, pictured) error) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		r, release, err := s.reserve(r)
		if err != nil {
			return err
		}
		defer release()
		b, form, err := readForm(r)
		if err != nil {
			return err
		}
		defer func() { _ = form.RemoveAll() }()
		data, picture, err := onePicture(form)
		if err != nil {
			return err
		}
		return next(w, r, pictured{body: b, form: form, data: data, picture: picture})
	}
}

// edit handles POST /v1/images/edits.
func (s *Server) edit(w http.ResponseWriter, r *http.Request, sent pictured) error {
	if err := onlyFiles(sent.form, "image", "mask"); err != nil {
		return err
	}
	picture := sent.picture
	mask := picture // its own transparency stands for a missing mask
	masks, err := files(sent.form, "mask")
	if err != nil {
		return err
	}
	if len(masks) > 0 {
		if mask, err = decode("mask", masks[0]); err != nil {
			return err
		}
		if mask.W != picture.W || mask.H != picture.H {
			return invalid("mask", "", "the mask is %dx%d pixels, the image %dx%d; they must be of one size", mask.W, mask.H, picture.W, picture.H)
		}
		if !mask.HasAlpha {
			return invalid("mask", "", "the mask has no alpha channel; make the pixels transparent that are to be repainted")
		}
	}

	q, err := s.translate(r.Context(), sent.body)
	if err != nil {
		return err
	}
	q.path, q.event = a1111.Img2Img, "image_edit"
	q.fields["init_images"] = []string{base64.StdEncoding.EncodeToString(sent.data)}
	setDefault(q.fields, "width", picture.W)
	setDefault(q.fields, "height", picture.H)
	if holes, any := repainted(mask); any {
		file, err := imageio.EncodeGrayPNG(holes)
		if err != nil {
			return err
		}
		q.fields["mask"] = base64.StdEncoding.EncodeToString(file)
		setDefault(q.fields, "inpaint_full_res", false) // the prompt describes the whole picture
	}
	return s.answer(w, r, q)
}

// expectedSize is the size that fields of the A1111 API ask for.
func expectedSize(fields map[string]any) string {
	const standard = 512
	side := func(name string) string {
		if v, ok := fields[name]; ok {
			return fmt.Sprint(v)
		}
		return strconv.Itoa(standard)
	}
	return side("width") + "x" + side("height")
}

// onePicture is the picture of a form. Several are refused: a picture that is
// composed of others would not be what their sender sees in them.
func onePicture(form *multipart.Form) ([]byte, imageio.Decoded, error) {
	pictures, err := files(form, "image")
	if err != nil {
		return nil, imageio.Decoded{}, err
	}
	if len(pictures) != 1 {
		return nil, imageio.Decoded{}, invalid("image", "", "%d images were sent; one can be edited at a time", len(pictures))
	}
	picture, err := decode("image", pictures[0])
	return pictures[0], picture, err
}

func setDefault(fields map[string]any, name string, v any) {
	if _, ok := fields[name]; !ok {
		fields[name] = v
	}
}

func decode(param string, data []byte) (imageio.Decoded, error) {
	m, err := imageio.Decode(data, imageio.MaxPixels)
	var large *imageio.TooLargeError
	switch {
	case errors.As(err, &large):
		return m, invalid(param, "", "%s: %s", param, large)
	case err != nil:
		return m, invalid(param, "invalid_image_file", "%s: %s", param, err)
	}
	return m, nil
}

// repainted turns transparency into A1111's mask, where white is repainted, and
// reports whether there is any.
func repainted(m imageio.Decoded) (mask imageio.Gray, any bool) {
	mask = imageio.NewGray(m.W, m.H)
	if !m.HasAlpha {
		return mask, false
	}
	for i := range mask.Pix {
		mask.Pix[i] = 255 - m.Pix[4*i+3]
		any = any || mask.Pix[i] > 0
	}
	return mask, any
}

// answer runs a request and replies in one piece or in events.
func (s *Server) answer(w http.ResponseWriter, r *http.Request, q *request) error {
	q.size = expectedSize(q.fields)
	if q.stream {
		return s.stream(w, r, q)
	}
	fields, err := json.Marshal(q.fields)
	if err != nil {
		return err
	}
	reply := s.cfg.API.Post(r.Context(), q.path, fields)
	if reply.Status != http.StatusOK {
		return fromReply(reply)
	}
	data, err := q.images(reply.Body)
	if err != nil {
		return err
	}
	if timing := reply.Header.Get("Server-Timing"); timing != "" {
		w.Header().Set("Server-Timing", timing)
	}
	first := ""
	if len(data) > 0 {
		first = cmp.Or(data[0].Base64, strings.TrimPrefix(data[0].URL, "data:image/"+q.format+";base64,"))
	}
	writeJSON(w, http.StatusOK, pictures{time.Now().Unix(), data, q.format, "opaque", q.facts(first)})
	return nil
}

// pictures is the reply of the routes that make some.
type pictures struct {
	Created    int64   `json:"created"` // Unix seconds
	Data       []image `json:"data"`
	Format     string  `json:"output_format"`
	Background string  `json:"background"`
	facts
}
