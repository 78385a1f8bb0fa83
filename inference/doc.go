// Package inference makes pictures: it holds what a job is ([Request],
// [Result]), what runs the networks ([Engine]), the [Pipeline] between the two
// that follows AUTOMATIC1111's web UI step by step, and the [Queue] in front.
//
// The doors (HTTP, RunPod, command line) turn what they are given into a
// Request; everything below this package is plain numbers and texts.
package inference
