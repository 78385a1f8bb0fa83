// Package imageio holds pictures as 8-bit pixels and does everything to them
// that the AUTOMATIC1111 web UI (A1111) does outside the networks: reading what
// clients send, resizing, masks and inpainting, pasting back, colour correction,
// and writing PNG, JPEG and WebP with the generation parameters inside.
//
// Where A1111 calls Pillow the results are equal byte for byte (version 9.5,
// which A1111 v1.9.3 installs); where it calls OpenCV they are within one of 255
// levels. Pictures are values with a shared pixel slice; functions never write
// to a picture they were given unless their name says so. Everything is safe
// for concurrent use.
package imageio
