// Package runpodtest is RunPod's control plane for tests: a strict server that
// hands out jobs, plays back scripted faults, and notes every way in which a
// worker breaks the protocol.
//
// Server is the control plane, over loopback (Listen) or in memory for virtual
// time (New and Transport). Scenarios are the things that a worker must get
// right, and Measure is what it costs per job; both work for any worker that can
// be started with an environment.
//
// # Checked against RunPod's own SDK
//
// A server that is too lax proves nothing, and one that is too strict proves the
// wrong thing. So the scenarios were played with an echo worker on RunPod's
// Python SDK as well (TestScenariosOfTheSDK repeats it; last done on 2026-11-24
// with runpod 1.12.0, Python 3.11, on two shared cores).
// Everything that the SDK does right passes: jobs in all three template styles,
// failing jobs, progress, all answers of job-take, two server errors in a row to
// a result, heartbeats of one second, stop of an asynchronous handler. What the
// server objects to is what is known about the SDK:
//
//   - a progress post that is slow arrives after the result and reopens the job;
//   - job-takes answered at once with 204 are repeated without any pause;
//   - a result is lost after three server errors, after one dropped connection,
//     after one 429, and when it is too large;
//   - the same job handed out twice is answered twice;
//   - a job with a numeric id stops the worker from taking jobs, and one without
//     an input is never answered;
//   - a repeated heartbeat names jobs that were answered meanwhile;
//   - a heartbeat interval below one second means no heartbeat;
//   - six trivial jobs take six seconds, because of the pause of one second after
//     every hand-out. Measured: 56 ms from hand-out to answer, 947 ms from answer
//     to the next hand-out (medians), 1.0 jobs a second.
package runpodtest
