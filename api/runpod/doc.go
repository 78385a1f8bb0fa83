// Package runpod is a RunPod serverless worker: it takes jobs from RunPod's
// control plane, hands them to a Handler and answers them.
//
// It speaks the protocol of RunPod's Python SDK (package runpod, 1.12.0) without
// it, and knows nothing about what the jobs are. The smallest worker is
//
//	cfg, err := runpod.LoadConfig(env.ToMap(os.Environ()))
//	...
//	err = runpod.Start(ctx, func(ctx context.Context, job runpod.Job) (any, error) {
//		return map[string]string{"hello": "world"}, nil
//	}, cfg)
//
// Three loops run side by side from the first moment to the last: one takes
// jobs, one listens for jobs to stop, one sends heartbeats that name every job
// held. Every job has an outbox that posts its progress and then exactly one
// final answer, again and again until the control plane has accepted it. All
// state is in memory.
//
// Run chooses between the queue (Start), a job from the command line and a local
// HTTP API, with the flags of the SDK. Ping answers the health checks of
// load-balancing endpoints.
package runpod
