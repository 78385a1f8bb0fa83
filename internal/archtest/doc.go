// Package archtest holds tests of the module's shape: which package may import
// which, where C is allowed, and that every package says what it is for. Its
// rules are the ones that docs/ARCHITECTURE.md explains.
package archtest
