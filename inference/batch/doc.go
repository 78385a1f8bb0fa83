// Package batch lets several jobs share an engine that does one thing at a time.
// Turns decides whose weights are loaded: jobs that work with the same ones are in
// work together, the others wait. Rendezvous decides, call by call, which of those
// jobs the engine serves next, and lets calls that fit together be one.
//
// Nothing here knows what the calls are.
package batch
