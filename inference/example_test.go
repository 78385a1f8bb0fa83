package inference_test

import (
	"context"
	"fmt"

	"sdworker/inference"
	"sdworker/inference/enginetest"
)

// A queue in front of a pipeline makes pictures. The engine of this example is the
// fake of the tests; in the program it is sdcpp.Open.
func Example() {
	open := func(ctx context.Context, checkpoint string, progress func(done, total int)) (inference.Engine, error) {
		return &enginetest.Fake{}, nil
	}
	pipeline := inference.NewPipeline(open, inference.PipelineOptions{})
	defer pipeline.Close()
	queue := inference.NewQueue(pipeline, inference.QueueOptions{Depth: 8})

	request := &inference.Request{
		Prompt: "a lovely cat", Seed: 1, Sampler: "Euler a", Steps: 20, CFGScale: 7,
		Width: 64, Height: 64, BatchSize: 2, BatchNum: 1,
		Files: inference.Files{Checkpoint: "model.safetensors"}, Settings: inference.DefaultSettings(),
	}
	result, err := queue.Generate(context.Background(), inference.Job{ID: "1", Name: "example"}, request)
	if err != nil {
		panic(err)
	}
	for _, image := range result.Images {
		fmt.Println("seed", image.Seed, "size", image.Pixels.W, image.Pixels.H)
	}
	// Output:
	// seed 1 size 64 64
	// seed 2 size 64 64
}
