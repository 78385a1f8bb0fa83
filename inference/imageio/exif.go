package imageio

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// EXIF tags (EXIF 2.32; TIFF 6.0).
const (
	tagOrientation = 0x0112
	tagExifIFD     = 0x8769
	tagUserComment = 0x9286
)

// TIFF field types and the width of their values in bytes.
const (
	typeShort     = 3
	typeLong      = 4
	typeUndefined = 7
)

var typeWidth = [...]uint32{1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}

const unicodeHeader = "UNICODE\x00"

// userCommentEXIF is a TIFF structure with nothing but a user comment, byte for
// byte what piexif writes for A1111: big-endian, the first directory pointing to
// the EXIF directory, which piexif does not end with the offset of a next one.
func userCommentEXIF(comment string) []byte {
	text := []byte(unicodeHeader)
	for _, unit := range utf16.Encode([]rune(comment)) {
		text = binary.BigEndian.AppendUint16(text, unit)
	}
	const (
		firstIFD = 8
		exifIFD  = firstIFD + 2 + 12 + 4
		data     = exifIFD + 2 + 12
	)
	out := []byte("MM\x00*")
	out = binary.BigEndian.AppendUint32(out, firstIFD)
	out = appendIFD(out, tagExifIFD, typeLong, 1, exifIFD)
	out = binary.BigEndian.AppendUint32(out, 0) // no second directory
	out = appendIFD(out, tagUserComment, typeUndefined, uint32(len(text)), data)
	return append(out, text...)
}

// appendIFD writes a directory of a single entry, less the offset of the next one.
func appendIFD(dst []byte, tag, kind uint16, count, value uint32) []byte {
	dst = binary.BigEndian.AppendUint16(dst, 1)
	dst = binary.BigEndian.AppendUint16(dst, tag)
	dst = binary.BigEndian.AppendUint16(dst, kind)
	dst = binary.BigEndian.AppendUint32(dst, count)
	return binary.BigEndian.AppendUint32(dst, value)
}

// exif gives access to the directories of a TIFF structure.
type exif struct {
	data  []byte
	order binary.ByteOrder
}

var errExif = errors.New("damaged EXIF data")

func newExif(data []byte) (exif, error) {
	data = bytes.TrimPrefix(data, []byte("Exif\x00\x00"))
	switch {
	case len(data) >= 8 && string(data[:4]) == "MM\x00*":
		return exif{data, binary.BigEndian}, nil
	case len(data) >= 8 && string(data[:4]) == "II*\x00":
		return exif{data, binary.LittleEndian}, nil
	}
	return exif{}, errExif
}

// first is the offset of the first directory.
func (e exif) first() uint32 { return e.order.Uint32(e.data[4:]) }

// value returns the bytes of a tag in the directory at an offset.
func (e exif) value(ifd uint32, tag uint16) ([]byte, bool) {
	_, v, ok := e.entry(ifd, tag)
	return v, ok
}

// numbers returns the whole numbers of a tag, none if it is absent or of another
// type.
func (e exif) numbers(ifd uint32, tag uint16) []uint32 {
	kind, v, _ := e.entry(ifd, tag)
	var list []uint32
	switch kind {
	case typeShort:
		for ; len(v) >= 2; v = v[2:] {
			list = append(list, uint32(e.order.Uint16(v)))
		}
	case typeLong:
		for ; len(v) >= 4; v = v[4:] {
			list = append(list, e.order.Uint32(v))
		}
	}
	return list
}

// entry returns type and bytes of a tag in the directory at an offset.
func (e exif) entry(ifd uint32, tag uint16) (kind uint16, value []byte, ok bool) {
	if uint64(ifd)+2 > uint64(len(e.data)) {
		return 0, nil, false
	}
	entries := e.data[ifd+2:]
	for range e.order.Uint16(e.data[ifd:]) {
		if len(entries) < 12 {
			return 0, nil, false
		}
		entry := entries[:12]
		entries = entries[12:]
		kind := e.order.Uint16(entry[2:])
		if e.order.Uint16(entry) != tag || int(kind) >= len(typeWidth) {
			continue
		}
		size := uint64(e.order.Uint32(entry[4:])) * uint64(typeWidth[kind])
		if size <= 4 {
			return kind, entry[8 : 8+size], true
		}
		at := uint64(e.order.Uint32(entry[8:]))
		if at+size > uint64(len(e.data)) {
			return 0, nil, false
		}
		return kind, e.data[at : at+size], true
	}
	return 0, nil, false
}

// orientation is the tag of that name, or 0.
func (e exif) orientation() int {
	if v, ok := e.value(e.first(), tagOrientation); ok && len(v) == 2 {
		return int(e.order.Uint16(v))
	}
	return 0
}

// userComment is the comment as text, empty when there is none.
func (e exif) userComment() string {
	at, ok := e.value(e.first(), tagExifIFD)
	if !ok || len(at) != 4 {
		return ""
	}
	raw, _ := e.value(e.order.Uint32(at), tagUserComment)
	return decodeComment(raw)
}

// decodeComment reads a user comment by its 8-byte header as piexif does: UTF-16
// is big-endian whatever the order of the file, and what has no known header is
// UTF-8.
func decodeComment(raw []byte) string {
	header, body, _ := cutAt(raw, len(unicodeHeader))
	switch string(header) {
	case unicodeHeader:
		units := make([]uint16, 0, len(body)/2)
		for ; len(body) >= 2; body = body[2:] {
			units = append(units, binary.BigEndian.Uint16(body))
		}
		return string(utf16.Decode(units))
	case "ASCII\x00\x00\x00", "\x00\x00\x00\x00\x00\x00\x00\x00":
		return validUTF8(body)
	}
	return validUTF8(raw)
}

func cutAt(b []byte, n int) (head, rest []byte, ok bool) {
	if len(b) < n {
		return nil, b, false
	}
	return b[:n], b[n:], true
}

// validUTF8 drops what is no UTF-8.
func validUTF8(b []byte) string {
	if utf8.Valid(b) {
		return string(b)
	}
	return strings.ToValidUTF8(string(b), "")
}
