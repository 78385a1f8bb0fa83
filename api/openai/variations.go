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
func (s *Server) vary(w http.ResponseWriter, r *http.Request, sent pictured) error {
	if err := onlyFiles(sent.form, "image"); err != nil {
		return err
	}
	b := sent.body
	if _, ok := b["prompt"]; !ok {
		made := infotext.Reader{}.Parse(imageio.ReadInfo(sent.data).Parameters)
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
	q.fields["init_images"] = []string{base64.StdEncoding.EncodeToString(sent.data)}
	setDefault(q.fields, "width", sent.picture.W)
	setDefault(q.fields, "height", sent.picture.H)
	setDefault(q.fields, "denoising_strength", variationStrength)
	return s.answer(w, r, q)
}
