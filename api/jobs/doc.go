// Package jobs lets clients of the A1111 API fetch their pictures later: a job is
// one request to that API, accepted at once and done in its turn.
//
//	POST   /v1/jobs                   submit {"endpoint", "input"}
//	GET    /v1/jobs                   all jobs, the newest first
//	GET    /v1/jobs/{id}              state, and the output once there is one
//	GET    /v1/jobs/{id}/events       server-sent events: status, progress, preview, done
//	GET    /v1/jobs/{id}/images/{n}   one picture of the output as a file
//	POST   /v1/jobs/{id}/cancel       stop it within one step
//	POST   /v1/jobs/{id}/finish       have it end soon with what there is
//	DELETE /v1/jobs/{id}              the same, and forget its output
//
// A submission may name a webhook, an https address on the public Internet. It is told
// once when the job has ended: {"type": "job.completed", "timestamp", "data"} with the
// job's document without its output, signed as standardwebhooks.com specifies. Tries go
// on for about two hours until one is answered with 2xx; GET shows how they went.
// A message is lost when the server ends before.
//
// Fields, defaults, checks and errors are those of the API, which is called in
// memory. A request that the API refuses before
// it queues gets the API's own answer and leaves no job behind.
package jobs
