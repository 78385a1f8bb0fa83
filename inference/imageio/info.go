package imageio

import (
	"encoding/binary"

	"sdworker/formats/pngtext"
)

// Item is one piece of information that a picture file carries: a text, or a
// number as int or float64.
type Item struct {
	Key   string
	Value any
}

// Info is what a picture file says about itself.
type Info struct {
	// Parameters is the text of generation parameters, empty when there is none:
	// the PNG text of that name, else the EXIF user comment (which wins over it),
	// else the comment of a GIF or JPEG file.
	Parameters string

	// Items are all other texts and values in the order of the file, less those
	// that describe the encoding rather than the picture.
	Items []Item
}

// parametersKey is the key of A1111's text.
const parametersKey = "parameters"

// Limits of Pillow against files that inflate without end, in bytes: of one
// compressed text, and of all texts together.
const (
	maxText  = 1 << 20
	maxTexts = 64 << 20
)

// ReadInfo reads the information of a PNG, JPEG, WebP or GIF file as A1111's
// png-info shows it. Damaged parts count as absent; other formats have none.
func ReadInfo(data []byte) Info {
	f, _ := sniff(data)
	var info Info
	switch f.name {
	case "png":
		info.readPNG(data)
	case "jpeg":
		for marker, segment := range jpegSegments(data) {
			if marker == markerCOM {
				info.comment(segment)
			}
		}
	case "gif":
		info.add("version", string(data[:len("GIF89a")]))
		if c, ok := gifComment(data); ok {
			info.comment(c)
		}
	}
	if e, ok := exifOf(data); ok {
		if comment := e.userComment(); comment != "" {
			info.Parameters = comment
		}
	}
	return info
}

// comment adds the comment of a file, which A1111 takes for parameters and lists
// as well.
func (i *Info) comment(raw []byte) {
	i.Parameters = validUTF8(raw)
	i.add("comment", i.Parameters)
}

// add appends an item; as in a Python dict, a key that comes again keeps its place.
func (i *Info) add(key string, value any) {
	for k := range i.Items {
		if i.Items[k].Key == key {
			i.Items[k].Value = value
			return
		}
	}
	i.Items = append(i.Items, Item{key, value})
}

func (i *Info) readPNG(data []byte) {
	total := 0
	for kind, chunk := range pngtext.Chunks(data) {
		if kind == "gAMA" && len(chunk) == 4 {
			i.add("gamma", float64(binary.BigEndian.Uint32(chunk))/100000)
		}
		if kind == "sRGB" && len(chunk) == 1 {
			i.add("srgb", int(chunk[0]))
		}
		key, value, ok := pngtext.Text(kind, chunk, maxText)
		if total += len(value); total > maxTexts {
			return
		}
		switch {
		case !ok:
		case key == parametersKey:
			i.Parameters = value
		case !encodingKeys[key]:
			i.add(key, value)
		}
	}
}

// encodingKeys are the information that A1111 does not show.
var encodingKeys = map[string]bool{
	"jfif": true, "jfif_version": true, "jfif_unit": true, "jfif_density": true, "dpi": true, "exif": true, "loop": true,
	"background": true, "timestamp": true, "duration": true, "progressive": true, "progression": true, "icc_profile": true,
	"chromaticity": true, "photoshop": true,
}

// gifComment finds the first comment extension before the first picture.
func gifComment(data []byte) ([]byte, bool) {
	const header = 13
	if len(data) < header {
		return nil, false
	}
	at := header
	if flags := data[10]; flags&0x80 != 0 {
		at += 3 << (1 + flags&7) // global palette
	}
	for at+2 < len(data) && data[at] == '!' {
		label := data[at+1]
		at += 2
		var content []byte
		for at < len(data) && data[at] != 0 {
			next := at + 1 + int(data[at])
			if next > len(data) {
				return nil, false
			}
			content = append(content, data[at+1:next]...)
			at = next
		}
		at++
		if label == 0xfe {
			return content, true
		}
	}
	return nil, false
}
