package a1111_test

import (
	"context"
	"fmt"
	"net/http"

	"sdworker/api/a1111"
)

// The handler is any server of the A1111 API, such as a sdapi.Server behind a gate.
func ExampleClient_Call() {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Println(r.Method, r.URL.Path)
		fmt.Fprint(w, `{"images": ["iVBORw0KGgo="]}`)
	})
	client := a1111.Client{Handler: handler}
	var reply struct{ Images []string }
	if err := client.Call(context.Background(), a1111.Txt2Img, map[string]any{"prompt": "a cat"}, &reply); err != nil {
		panic(err)
	}
	fmt.Println(len(reply.Images), "picture")
	// Output:
	// POST /sdapi/v1/txt2img
	// 1 picture
}
