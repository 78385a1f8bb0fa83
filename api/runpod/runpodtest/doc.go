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
// Python SDK as well, releases 1.12.0 and 2.0.0rc2 with Python 3.11, on
// 2026-11-24 and two busy cores. TestScenariosOfTheSDK repeats six that must pass.
//
// Everything that the SDK does right passes: jobs in all three template styles,
// failing jobs, progress, all answers of job-take, two server errors in a row to
// a result, heartbeats of one second, stop of an asynchronous handler. What the
// server objects to, with both releases unless one is named, is known of the SDK:
//
//   - a progress post that is slow arrives after the result and reopens the job;
//   - job-takes answered at once with 204 are repeated without any pause;
//   - a result is lost after three server errors, after one dropped connection,
//     after one 429, and when it is too large;
//   - the same job handed out twice is answered twice;
//   - after a job with a numeric id no more jobs are answered, and a job without
//     an input never is;
//   - a repeated heartbeat names jobs that were answered meanwhile (1.12.0);
//   - a heartbeat interval below one second means no heartbeat;
//   - six trivial jobs take six seconds, because of a pause of one second after
//     every hand-out.
//
// What Measure found, medians of 20 jobs:
//
//	                                1.12.0     2.0.0rc2
//	hand-out to answer              56 ms      1.1 ms
//	answer to next hand-out         947 ms     1003 ms
//	jobs a second                   1.0        1.0
package runpodtest
