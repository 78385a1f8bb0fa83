// Txt2img makes one picture with a server's A1111 API and prints its parameters:
//
//	go run ./examples/go/txt2img PROMPT FILE
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: txt2img PROMPT FILE")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(prompt, file string) error {
	server := os.Getenv("SDWORKER_URL")
	if server == "" {
		server = "http://127.0.0.1:7860"
	}
	// Whatever the request leaves out has A1111's default.
	request, err := json.Marshal(map[string]any{"prompt": prompt, "steps": 20, "seed": -1})
	if err != nil {
		return err
	}
	reply, err := http.Post(server+"/sdapi/v1/txt2img", "application/json", bytes.NewReader(request))
	if err != nil {
		return err
	}
	defer reply.Body.Close()
	body, err := io.ReadAll(reply.Body)
	if err != nil {
		return err
	}
	if reply.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", reply.Status, body)
	}
	var result struct {
		Images [][]byte // PNG; encoding/json decodes base64
		Info   string   // JSON once more, as A1111 sends it
	}
	if err := json.Unmarshal(body, &result); err != nil {
		return err
	}
	var info struct {
		Infotexts []string
	}
	if err := json.Unmarshal([]byte(result.Info), &info); err != nil {
		return err
	}
	fmt.Println(info.Infotexts[0])
	return os.WriteFile(file, result.Images[0], 0o644)
}
