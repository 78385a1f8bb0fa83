package imageio

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"

	"sdworker/formats/pngtext"
)

// Where formats keep an XMP packet (XMP Specification Part 3, ISO 16684-1).
const (
	xmpPNGKey     = "XML:com.adobe.xmp"
	xmpJPEGPrefix = "http://ns.adobe.com/xap/1.0/\x00"
	xmpWebPKind   = "XMP "
	vp8xXMP       = 1 << 2
)

var errNoXMP = errors.New("an XMP packet cannot be put into this file")

// AddXMP returns a PNG, JPEG or WebP file, as the encoders of this package write it,
// with an XMP packet beside what it has. Pixels and texts stay as they are.
func AddXMP(file []byte, packet string) ([]byte, error) {
	f, _ := sniff(file)
	switch f.name {
	case "png":
		return addPNGXMP(file, packet)
	case "jpeg":
		return addJPEGXMP(file, packet)
	case "webp":
		return addWebPXMP(file, packet)
	}
	return nil, errNoXMP
}

// addPNGXMP puts the packet before the pixels, as an uncompressed iTXt chunk.
func addPNGXMP(file []byte, packet string) ([]byte, error) {
	at := len(pngtext.Signature)
	for at+8 <= len(file) && string(file[at+4:at+8]) != "IDAT" {
		at += int(binary.BigEndian.Uint32(file[at:])) + 12
	}
	if at+8 > len(file) {
		return nil, errNoXMP
	}
	out := append([]byte(nil), file[:at]...)
	out = appendChunk(out, "iTXt", []byte(xmpPNGKey), []byte{0, 0, 0, 0, 0}, []byte(packet))
	return append(out, file[at:]...), nil
}

// addJPEGXMP puts the packet behind the segments that begin the file.
func addJPEGXMP(file []byte, packet string) ([]byte, error) {
	const app0, startOfImage = 0xe0, 2
	at := startOfImage
	for marker, segment := range jpegSegments(file) {
		if marker != app0 && marker != markerAPP1 {
			break
		}
		at += len(segment) + 4
	}
	size := len(xmpJPEGPrefix) + len(packet) + 2
	if size > math.MaxUint16 {
		return nil, errNoXMP
	}
	out := append([]byte(nil), file[:at]...)
	out = append(out, 0xff, markerAPP1)
	out = binary.BigEndian.AppendUint16(out, uint16(size))
	out = append(append(out, xmpJPEGPrefix...), packet...)
	return append(out, file[at:]...), nil
}

// addWebPXMP puts the packet at the end of an extended file.
func addWebPXMP(file []byte, packet string) ([]byte, error) {
	var parts []riffPart
	for kind, data := range riffChunks(file, webpHeader) {
		parts = append(parts, riffPart{kind, bytes.Clone(data)})
	}
	if len(parts) == 0 {
		return nil, errNoXMP
	}
	if parts[0].kind != "VP8X" {
		w, h, err := Size(file)
		if err != nil {
			return nil, err
		}
		parts = append([]riffPart{{"VP8X", extendedHeader(0, w, h)}}, parts...)
	}
	parts[0].data[0] |= vp8xXMP
	return riff(append(parts, riffPart{xmpWebPKind, []byte(packet)})...), nil
}

// XMP is the packet of a PNG, JPEG or WebP file, "" without one.
func XMP(file []byte) string {
	f, _ := sniff(file)
	switch f.name {
	case "png":
		for _, item := range ReadInfo(file).Items {
			if text, ok := item.Value.(string); ok && item.Key == xmpPNGKey {
				return text
			}
		}
	case "jpeg":
		for marker, segment := range jpegSegments(file) {
			if text, ok := bytes.CutPrefix(segment, []byte(xmpJPEGPrefix)); ok && marker == markerAPP1 {
				return string(text)
			}
		}
	case "webp":
		raw, _ := riffChunk(file, webpHeader, xmpWebPKind)
		return string(raw)
	}
	return ""
}
