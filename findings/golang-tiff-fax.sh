#!/usr/bin/env bash
# golang.org/x/image v0.48.0: package tiff exchanges black and white of a fax picture (Group 3 or 4) that Pillow wrote. It gives every black run
# the value black, whatever PhotometricInterpretation says; to libtiff, Pillow and TIFF 6.0 a black run is ones, which are white where
# black is zero. Pillow writes that. The same picture with other compressions, or with white as zero, is read right.
#
# Expected: row 0 is 1111000000000000 for LZW and for Group 4 with white as zero, and 0000111111111111 for Pillow's Group 4.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check pillow==13.0.0
venv/bin/python - <<'PYTHON'
from PIL import Image

picture = Image.new("1", (16, 8), 0)
picture.paste(255, (0, 0, 4, 8))
picture.save("lzw.tif", compression="tiff_lzw")
picture.save("group4.tif", compression="group4")
picture.save("group4-white-is-zero.tif", compression="group4", tiffinfo={262: 0})
for name in ("lzw", "group4", "group4-white-is-zero"):
    read = Image.open(name + ".tif")
    row = "".join("1" if read.getpixel((x, 0)) else "0" for x in range(16))
    print(f"Pillow reads {name}.tif (photometric {read.tag_v2[262]}): {row}")
PYTHON
cat >go.mod <<'GO'
module fax

go 1.24
GO
cat >main.go <<'GO'
package main

import (
	"fmt"
	"os"

	"golang.org/x/image/tiff"
)

func main() {
	rows := map[string]string{}
	for _, name := range []string{"lzw", "group4", "group4-white-is-zero"} {
		f, err := os.Open(name + ".tif")
		if err != nil {
			panic(err)
		}
		m, err := tiff.Decode(f)
		if err != nil {
			panic(err)
		}
		for x := range 16 {
			r, _, _, _ := m.At(x, 0).RGBA()
			rows[name] += fmt.Sprint(r >> 15)
		}
		fmt.Printf("x/image reads %s.tif: %s\n", name, rows[name])
	}
	const right, exchanged = "1111000000000000", "0000111111111111"
	if rows["lzw"] != right || rows["group4-white-is-zero"] != right || rows["group4"] != exchanged {
		fmt.Fprintln(os.Stderr, "the behaviour has changed")
		os.Exit(1)
	}
}
GO
export GOFLAGS=-mod=mod
go get -x golang.org/x/image@v0.48.0 >/dev/null 2>&1
go run .
