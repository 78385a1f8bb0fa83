// Package bench measures the worker on the machine it runs on: the engine's
// networks, whole pictures beside the engine's own pipeline, reading of model
// files, and what the HTTP and RunPod doors add to a job.
package bench
