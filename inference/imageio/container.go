package imageio

import (
	"bytes"
	"encoding/binary"
	"iter"

	"sdworker/formats/pngtext"
)

// JPEG markers (ITU-T T.81, table B.1).
const (
	markerSOS  = 0xda
	markerAPP1 = 0xe1
	markerCOM  = 0xfe
)

// jpegSegments yields marker and content of the segments before the pixels.
func jpegSegments(data []byte) iter.Seq2[byte, []byte] {
	return func(yield func(byte, []byte) bool) {
		data = data[min(2, len(data)):]
		for len(data) >= 4 {
			if data[0] != 0xff {
				return
			}
			marker := data[1]
			if marker == 0xff { // fill byte
				data = data[1:]
				continue
			}
			size := int(binary.BigEndian.Uint16(data[2:]))
			if marker == markerSOS || size < 2 || 2+size > len(data) || !yield(marker, data[4:2+size]) {
				return
			}
			data = data[2+size:]
		}
	}
}

// riffChunks yields the chunks of a WebP file, or of the content of one chunk,
// past the given number of header bytes.
func riffChunks(data []byte, header int) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		data = data[min(header, len(data)):]
		for len(data) >= 8 {
			size := uint64(binary.LittleEndian.Uint32(data[4:]))
			if size+8 > uint64(len(data)) || !yield(string(data[:4]), data[8:8+size]) {
				return
			}
			data = data[min(8+size+size%2, uint64(len(data))):]
		}
	}
}

// webpHeader is the RIFF header in bytes: "RIFF", size, "WEBP".
const webpHeader = 12

// riffChunk returns the first chunk of a kind.
func riffChunk(data []byte, header int, kind string) ([]byte, bool) {
	for k, chunk := range riffChunks(data, header) {
		if k == kind {
			return chunk, true
		}
	}
	return nil, false
}

// exifOf finds the EXIF data of any file.
func exifOf(data []byte) (exif, bool) {
	var raw []byte
	f, _ := sniff(data)
	switch f.name {
	case "png":
		raw, _ = pngtext.Chunk(data, "eXIf")
	case "jpeg":
		for marker, segment := range jpegSegments(data) {
			if marker == markerAPP1 && bytes.HasPrefix(segment, []byte("Exif\x00\x00")) {
				raw = segment
				break
			}
		}
	case "webp":
		raw, _ = riffChunk(data, webpHeader, "EXIF")
	case "tiff":
		raw = data
	}
	e, err := newExif(raw)
	return e, err == nil
}

// orientation is the EXIF orientation of a file, or 0.
func orientation(data []byte) int {
	if e, ok := exifOf(data); ok {
		return e.orientation()
	}
	return 0
}
