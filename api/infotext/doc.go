// Package infotext writes and reads the text of generation parameters that the
// AUTOMATIC1111 web UI (A1111) v1.9.3 stores in its pictures under the key
// "parameters":
//
//	a cat
//	Negative prompt: bad, ugly
//	Steps: 20, Sampler: Euler a, CFG scale: 7.0, Seed: 1, Size: 512x512, Version: v1.9.3
//
// Write knows which keys appear when and in which order; its caller only states
// facts. Parse undoes it, with the defaults and repairs of A1111's own parser,
// and Fields turns the result into fields of an API request.
package infotext
