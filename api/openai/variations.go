package openai

import (
	"encoding/base64"
	"net/http"

	"sdworker/api/a1111"
	"sdworker/api/infotext"
	"sdworker/inference/imageio"
)

// variationStrength is how much of a picture a variation changes: enough that
// objects move, too little for another scene.
const variationStrength = 0.6

// vary handles POST /v1/images/variations. OpenAI's has no prompt. Here one may be
// sent; without it that which the picture was made with counts, if it says so.
func (s *Server) vary(w http.ResponseWriter, r *http.Request) error {
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
	if _, ok := b["prompt"]; !ok {
		made := infotext.Reader{}.Parse(imageio.ReadInfo(data).Parameters)
		b["prompt"] = made.Prompt()
		if _, ok := b["negative_prompt"]; !ok {
			b["negative_prompt"] = made.NegativePrompt()
		}
	}
	q, err := s.translate(r.Context(), b)
	if err != nil {
		return err
	}
	q.path, q.event = a1111.Img2Img, "image_variation"
	q.fields["init_images"] = []string{base64.StdEncoding.EncodeToString(data)}
	setDefault(q.fields, "width", picture.W)
	setDefault(q.fields, "height", picture.H)
	setDefault(q.fields, "denoising_strength", variationStrength)
	return s.answer(w, r, q)
}
