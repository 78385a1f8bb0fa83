package openai

import (
	"encoding/json"
	"errors"
	"io"
	"maps"
	"mime"
	"mime/multipart"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"sdworker/fault"
)

// body holds the parameters of a request, those of a form as strings. Nulls are
// left out.
type body map[string]any

// readJSON reads the parameters of a JSON body.
func readJSON(r *http.Request) (body, error) {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err == nil && kind != "application/json" {
		return nil, invalid("", "", "the content type is %s; send application/json", kind)
	}
	dec := json.NewDecoder(r.Body)
	dec.UseNumber() // seeds have more digits than a float64
	var b body
	if err := dec.Decode(&b); err != nil {
		return nil, unreadable(err)
	}
	for key, v := range b {
		if v == nil {
			delete(b, key)
		}
	}
	return b, nil
}

// maxFormMemory is what a form may hold in memory, in bytes; larger files go to
// disk for the time of the request.
const maxFormMemory = 64 << 20

// readForm reads the parameters and the files of a multipart form. The caller
// removes the form.
func readForm(r *http.Request) (body, *multipart.Form, error) {
	if err := r.ParseMultipartForm(maxFormMemory); err != nil {
		if errors.Is(err, http.ErrNotMultipart) {
			return nil, nil, invalid("", "", "send a multipart/form-data body with the files image and mask")
		}
		return nil, nil, unreadable(err)
	}
	b := body{}
	for key, values := range r.MultipartForm.Value {
		if len(values) > 0 && values[0] != "" {
			b[key] = values[0]
		}
	}
	return b, r.MultipartForm, nil
}

func unreadable(err error) *apiError {
	if large, ok := errors.AsType[*http.MaxBytesError](err); ok {
		e := invalid("", "", "the request body is larger than %d bytes", large.Limit)
		e.status = http.StatusRequestEntityTooLarge
		return e
	}
	if told, ok := errors.AsType[*fault.Error](err); ok {
		e := invalid("", "", "%s", told.Msg)
		if told.Code == fault.Busy {
			e.status, e.Type, e.retryAfter = http.StatusTooManyRequests, typeLimit, "5"
		}
		return e
	}
	return invalid("", "", "the request body could not be read: %s", err)
}

// files returns the contents of the files of a form under a name, or under the
// name with brackets, which clients use for lists.
func files(form *multipart.Form, name string) ([][]byte, error) {
	var out [][]byte
	for _, key := range []string{name, name + "[]"} {
		for _, header := range form.File[key] {
			f, err := header.Open()
			if err != nil {
				return nil, err
			}
			data, err := io.ReadAll(f)
			if err := errors.Join(err, f.Close()); err != nil {
				return nil, err
			}
			out = append(out, data)
		}
	}
	return out, nil
}

// onlyFiles refuses files of other names than those that are looked at: a picture is
// sent to change the result, as markup of OpenAI's newer models, and a mask lost by a
// mistyped name would repaint everything.
func onlyFiles(form *multipart.Form, names ...string) error {
	for _, key := range slices.Sorted(maps.Keys(form.File)) {
		if !slices.Contains(names, strings.TrimSuffix(key, "[]")) {
			return invalid(key, "", "the file %s is not used here; send %s", key, strings.Join(names, " and "))
		}
	}
	return nil
}

// take removes a parameter and returns it as text; "" stands for none.
func (b body) take(name string) string {
	v, ok := b[name]
	delete(b, name)
	switch v := v.(type) {
	case string:
		return v
	case json.Number:
		return v.String()
	case bool:
		return strconv.FormatBool(v)
	default:
		if !ok {
			return ""
		}
		data, _ := json.Marshal(v) // it was decoded from JSON
		return string(data)
	}
}

// takeInt is take for a whole number within bounds.
func (b body) takeInt(name string, low, high, missing int) (int, error) {
	given := b.take(name)
	if given == "" {
		return missing, nil
	}
	n, err := strconv.Atoi(given)
	if err != nil || n < low || n > high {
		return 0, invalid(name, "", "%s is %q; give a whole number from %d to %d", name, given, low, high)
	}
	return n, nil
}

// takeOne is take for one of a few values; the first is for a missing one.
func (b body) takeOne(name string, values ...string) (string, error) {
	given := b.take(name)
	if given == "" {
		return values[0], nil
	}
	for _, v := range values {
		if v == given {
			return v, nil
		}
	}
	return "", invalid(name, "", "%s is %q; it must be one of %s", name, given, strings.Join(values, ", "))
}
