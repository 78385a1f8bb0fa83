// Package remote runs an inference.Generator in a child process, so that an
// abort inside the engine, a CUDA error or the kernel's out-of-memory killer
// ends one job and not the program.
//
// The two processes share one end each of a socket pair. Serve, in the child,
// runs calls one by one on any Generator; Supervisor, in the parent, is a
// Generator that sends its calls there. When the child dies, the call in hand
// fails with a Broken error that names the cause, the child is started again
// after a growing pause, and the files that were loaded are loaded again.
package remote
