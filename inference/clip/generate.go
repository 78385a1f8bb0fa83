//go:build ignore

// Command generate writes merges.bin from the file of merges that OpenAI published with
// CLIP (MIT licence), bpe_simple_vocab_16e6.txt.gz, as the Python package open_clip_torch
// carries it:
//
//	go run generate.go path/to/bpe_simple_vocab_16e6.txt.gz
//
// merges.bin holds two little-endian 16-bit token ids for each merge, best first.
package main

import (
	"compress/gzip"
	"encoding/binary"
	"io"
	"log"
	"os"
	"strings"
)

// merges is the number of lines that make CLIP's vocabulary, after a heading.
const merges = 49152 - 256 - 2

func main() {
	file, err := os.Open(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	defer file.Close()
	zip, err := gzip.NewReader(file)
	if err != nil {
		log.Fatal(err)
	}
	text, err := io.ReadAll(zip)
	if err != nil {
		log.Fatal(err)
	}
	ids := map[string]uint16{}
	for id, name := range byteNames() {
		ids[name] = uint16(id)
		ids[name+"</w>"] = uint16(id + 256)
	}
	var out []byte
	for _, line := range strings.Split(string(text), "\n")[1 : 1+merges] {
		left, right, _ := strings.Cut(line, " ")
		for _, part := range []string{left, right} {
			id, ok := ids[part]
			if !ok {
				log.Fatalf("%q in line %q is no token yet", part, line)
			}
			out = binary.LittleEndian.AppendUint16(out, id)
		}
		ids[left+right] = uint16(len(ids))
	}
	if err := os.WriteFile("merges.bin", out, 0o644); err != nil {
		log.Fatal(err)
	}
}

// byteNames lists the characters that stand for bytes in the order of their ids: first
// the bytes that Latin-1 prints, by themselves, then the others, by U+0100 and up.
func byteNames() []string {
	var printed, other []string
	for b := range 256 {
		if '!' <= b && b <= '~' || 0xa1 <= b && b <= 0xff && b != 0xad {
			printed = append(printed, string(rune(b)))
		} else {
			other = append(other, string(rune(0x100+len(other))))
		}
	}
	return append(printed, other...)
}
