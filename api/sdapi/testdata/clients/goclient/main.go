// Command goclient drives a server with the module webui-api: goclient PORT
package main

import (
	"fmt"
	"log"
	"os"

	api "github.com/Meonako/webui-api"
)

func check(ok bool, err error, what string) {
	if err != nil || !ok {
		log.Fatalf("%s: %v", what, err)
	}
}

func main() {
	client := api.New(api.Config{
		BaseURL: "http://127.0.0.1:" + os.Args[1],
		Default: &api.Default{Sampler: "Euler a", Steps: 2, CFGScale: 7},
	})

	made, err := client.Text2Image(&api.Txt2Image{Prompt: "a cat", NegativePrompt: "dog", Steps: 2, Width: 64, Height: 64, BatchSize: 2, Seed: 3})
	check(len(made.Images) == 2 && made.Parameters.Steps == 2 && made.Info != "", err, "txt2img")

	changed, err := client.Image2Image(&api.Img2Img{InitImages: made.Images[:1], Prompt: "a dog", Steps: 2, Width: 64, Height: 64})
	check(len(changed.Images) == 1, err, "img2img")

	progress, err := client.Progress()
	check(progress.State.JobCount == 0, err, "progress")

	list, err := client.SDModels()
	check(len(list) == 2 && list[0].Hash != "", err, "sd-models")

	options, err := client.OptionsWithExtensionOptions()
	check(len(options) == 270, err, "options")
	check(true, client.SetOptionsWithExtensionOptions(api.Opt{"send_seed": false}), "set options")

	info, err := client.PNGInfo("data:image/png;base64," + made.Images[0])
	check(info != "", err, "png-info")
	check(true, client.Interrupt(), "interrupt")
	check(true, client.Skip(), "skip")
	fmt.Println("ok")
}
