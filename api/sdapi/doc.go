// Package sdapi is the HTTP API of AUTOMATIC1111's web UI v1.9.3 (A1111 below)
// in front of an inference.Queue: its routes, request fields, defaults, texts of
// errors and shapes of replies. A Server is an http.Handler, so that a request
// may come over the network or from the same process.
//
// A generation request passes these files: http.go reads it, schema checks and
// coerces it, generate.go orders the checks as A1111 does, txt2img.go and
// img2img.go make the inference.Request, and reply.go the reply, after the
// queue's turn has ended.
package sdapi
