package models

import (
	"bytes"

	"sdworker/formats"
)

// accepted ends the message about a file that is no model.
const accepted = "; accepted are Stable Diffusion 1.x models as .safetensors or .gguf"

// sniff tells the container from the first bytes of a file, or what people
// store by mistake under a model's name.
func sniff(head []byte, size int64) (formats.Format, error) {
	text := bytes.ToLower(bytes.TrimLeft(head, " \t\r\n\xef\xbb\xbf"))
	begins := func(s string) bool { return bytes.HasPrefix(text, []byte(s)) }
	no := func(sentence string) (formats.Format, error) { return "", &contentError{sentence: sentence + accepted} }
	if format := formats.OfContent(head); format != "" {
		return format, nil
	}
	switch {
	case size == 0:
		return no("is empty")
	case begins("version https://git-lfs"):
		return no("is a Git LFS pointer, not the model itself: run `git lfs pull` where it came from, or download the file")
	case begins("<!doctype"), begins("<html"), begins("<?xml"), begins("<head"):
		return no("is a web page, not a model: the download probably needed a login or a token")
	case begins("{"), begins("["):
		return no("is JSON text, not a model: the download probably answered with an error message")
	case bytes.HasPrefix(head, []byte("\x1f\x8b")), bytes.HasPrefix(head, []byte("7z\xbc\xaf")), bytes.HasPrefix(head, []byte("Rar!")):
		return no("is a compressed archive: unpack it first")
	case bytes.HasPrefix(head, []byte("tjgg")), bytes.HasPrefix(head, []byte("lmgg")), bytes.HasPrefix(head, []byte("fmgg")):
		return no("is in an old ggml format that GGUF has replaced")
	case len(bytes.Trim(head, "\x00")) == 0:
		return no("begins with zeros: the download was probably cut off")
	}
	return no("is of no known model format")
}
