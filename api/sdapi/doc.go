// Package sdapi is the HTTP API of AUTOMATIC1111's web UI v1.9.3 (A1111 below)
// in front of an inference.Queue: its routes, lists, options and documents. A
// Server is an http.Handler, so that a request may come over the network or from
// the same process. What a generation request means is in generation; routes.go
// leads from a path to the code behind it.
package sdapi
