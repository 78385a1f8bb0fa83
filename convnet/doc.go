// Package convnet describes networks of convolutions and transformer layers as data: a
// list of layers and the arrays they use, made from the names and shapes of a file's tensors. The
// engine runs such a list on its device, so that an architecture is Go code alone;
// Evaluate is the plain arithmetic, for tests and scripted engines.
//
// A picture is planar float32 [channels, rows, columns]; tokens are [rows, features].
package convnet
