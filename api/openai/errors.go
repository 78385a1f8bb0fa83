package openai

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"sdworker/api/a1111"
)

// apiError is an error in OpenAI's shape.
type apiError struct {
	status  int
	Message string  `json:"message"`
	Type    string  `json:"type"`
	Param   *string `json:"param"`
	Code    *string `json:"code"`

	retryAfter string
}

func (e *apiError) Error() string { return e.Message }

// Types of errors.
const (
	typeInvalid = "invalid_request_error"
	typeServer  = "server_error"
	typeLimit   = "requests"
)

// codeKey is OpenAI's code for wrong credentials.
const codeKey = "invalid_api_key"

// invalid is an error about one parameter.
func invalid(param, code, format string, args ...any) *apiError {
	return &apiError{status: http.StatusBadRequest, Message: fmt.Sprintf(format, args...), Type: typeInvalid, Param: text(param), Code: text(code)}
}

// text is nil for "", which JSON shows as null.
func text(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func writeError(w http.ResponseWriter, err error) {
	var e *apiError
	if !errors.As(err, &e) {
		e = &apiError{status: http.StatusInternalServerError, Message: "internal error", Type: typeServer}
	}
	if e.retryAfter != "" {
		w.Header().Set("Retry-After", e.retryAfter)
	}
	writeJSON(w, e.status, errorBody{e})
}

// errorBody is the reply with an error.
type errorBody struct {
	Error *apiError `json:"error"`
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		status, body = http.StatusInternalServerError, []byte(`{"error":{"message":"internal error","type":"server_error","param":null,"code":null}}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(body) // a client that went away is not our error
}

// params are the parameters of OpenAI that stand for fields of A1111.
var params = map[string]string{
	"width": "size", "height": "size", "batch_size": "n", "n_iter": "n",
	"init_images": "image", "override_settings": "model",
}

// fromReply translates an error of the A1111 API.
func fromReply(reply *a1111.Reply) *apiError {
	fault := reply.Fault()
	e := &apiError{status: fault.Status, Message: cmp.Or(fault.Message, http.StatusText(fault.Status)), retryAfter: reply.Header.Get("Retry-After")}
	if len(fault.Fields) > 0 && len(fault.Fields[0].Path) > 0 {
		first := fault.Fields[0]
		name := cmp.Or(params[first.Path[0]], first.Path[0])
		e.Message, e.Param = name+": "+first.Message, text(name)
	}
	switch {
	case e.status == http.StatusUnauthorized:
		e.Type, e.Code = typeInvalid, text(codeKey)
	case e.status == http.StatusTooManyRequests:
		e.Type, e.Code = typeLimit, text("rate_limit_exceeded")
	case e.status == http.StatusUnprocessableEntity, fault.OfRequest() && e.status >= http.StatusInternalServerError:
		e.Type, e.status = typeInvalid, http.StatusBadRequest
	case e.status < http.StatusInternalServerError:
		e.Type = typeInvalid
	default:
		e.Type = typeServer
	}
	return e
}
