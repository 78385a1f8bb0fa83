// Package sdcpp runs Stable Diffusion 1.x checkpoints through stable-diffusion.cpp.
//
// It binds the engine's modules (text encoder, UNet, VAE, ControlNet, TAESD,
// ESRGAN), not its generate function: the pipeline is Go, in package inference.
// This is the only package that imports "C".
//
// The build tag sdcpp turns the engine on, and cuda beside it links the CUDA
// build. Without sdcpp the package compiles with no C compiler and Open fails
// with a hint at the make target. third_party/build.sh makes the libraries.
//
// Ownership: an Engine's native memory belongs to C++ until Close. Slices are
// read or written by C++ only during a call. One call runs at a time; a context
// that ends stops a CPU computation between two operations and a CUDA one after
// it. ggml ends the process on errors it cannot return (an assertion, a CUDA
// failure); it then writes one line that begins with inference.AbortPrefix to stderr, for
// a supervising parent to report.
package sdcpp
