// Package generation makes pictures of A1111's requests: it gives request fields their
// meaning and makes the replies, with the texts of the pictures.
//
// A request passes these files: generate.go orders the checks as A1111 does, build.go,
// txt2img.go and img2img.go make the inference.Request, the always-on scripts have a
// file each, runs.go takes the turn of the queue, and reply.go makes the reply after it
// has ended. Scripts that script_name selects make several calls of one (derive.go).
//
// Tests send requests to a whole server, as clients do: they lie in api/sdapi.
package generation
