package a1111_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/api/a1111"
)

func TestFaults(t *testing.T) {
	for _, tc := range []struct {
		name string
		body string
		want a1111.Fault // but for Status and Body
		text string
	}{
		{
			"validation", `{"detail":[{"loc":["body","steps"],"msg":"value is not a valid integer","type":"type_error.integer"},{"loc":["body","imageList",0,"data"],"msg":"field required"}]}`,
			a1111.Fault{Fields: []a1111.FieldFault{{[]string{"steps"}, "value is not a valid integer"}, {[]string{"imageList", "0", "data"}, "field required"}}},
			"steps: value is not a valid integer; imageList.0.data: field required",
		},
		{"no body", `{"detail":[{"loc":["body"],"msg":"field required"}]}`, a1111.Fault{Fields: []a1111.FieldFault{{nil, "field required"}}}, "field required"},
		{"query", `{"detail":[{"loc":["query","update"],"msg":"m"}]}`, a1111.Fault{Fields: []a1111.FieldFault{{[]string{"update"}, "m"}}}, "update: m"},
		{"plain detail", `{"detail":"Not Found"}`, a1111.Fault{Message: "Not Found"}, "Not Found"},
		{"on purpose", `{"error":"HTTPException","detail":"Sampler not found","body":"","errors":""}`, a1111.Fault{Class: "HTTPException", Message: "Sampler not found"}, "Sampler not found"},
		{"exception", `{"error":"KeyError","detail":"","body":"","errors":"'x'"}`, a1111.Fault{Class: "KeyError", Message: "'x'"}, "'x'"},
		{"no text", `{"error":"RuntimeError","detail":"","body":"","errors":""}`, a1111.Fault{Class: "RuntimeError"}, `HTTP status 500 (Internal Server Error): {"error":"RuntimeError","detail":"","body":"","errors":""}`},
		{"no JSON", " gateway \n", a1111.Fault{}, "HTTP status 500 (Internal Server Error): gateway"},
		{"nothing", "", a1111.Fault{}, "HTTP status 500 (Internal Server Error):"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := (&a1111.Reply{Status: http.StatusInternalServerError, Body: []byte(tc.body)}).Fault()
			require.Equal(t, tc.text, got.Error())
			tc.want.Status, tc.want.Body = got.Status, got.Body
			require.Equal(t, &tc.want, got)
			require.Equal(t, 500, got.Status)
		})
	}
}
