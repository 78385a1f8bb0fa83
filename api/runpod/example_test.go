package runpod_test

import (
	"context"
	"encoding/json"
	"fmt"

	"sdworker/api/runpod"
	"sdworker/api/runpod/runpodtest"
)

func ExampleStart() {
	platform, err := runpodtest.Listen(runpodtest.Options{}) // stands in for RunPod
	if err != nil {
		fmt.Println(err)
		return
	}
	defer platform.Close()
	cfg, err := runpod.LoadConfig(platform.Env()) // on RunPod: of os.Environ
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, stop := context.WithCancel(context.Background()) // on RunPod: ended by SIGTERM
	done := make(chan error)
	go func() {
		done <- runpod.Start(ctx, func(_ context.Context, job runpod.Job) (any, error) {
			var name string
			if err := json.Unmarshal(job.Input, &name); err != nil {
				return nil, fmt.Errorf("input must be a name: %w", err)
			}
			return "hello " + name, nil
		}, cfg)
	}()
	record, err := platform.Wait(ctx, platform.Submit("world"))
	fmt.Println(string(record.Finals[0].Output), err)
	stop()
	fmt.Println(<-done, platform.Violations())
	// Output:
	// "hello world" <nil>
	// <nil> []
}
