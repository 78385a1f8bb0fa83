#!/usr/bin/env bash
# Pillow 13.0.0: inverting a mask of mode "1" that was drawn with 1 for white makes all of it white. Each pixel is a byte, which every
# file and conversion takes as white when it is not 0; but invert() takes 255 minus the byte, and 254 is white, too. Drawn with 255 it is right.
#
# Expected: of 16 pixels with 4 white ones, PNG has 4 white, and after ImageOps.invert() 16 for a fill of 1, 12 for a fill of 255.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check pillow==13.0.0
"$dir/venv/bin/python" - <<'PYTHON'
import io, sys
from PIL import Image, ImageChops, ImageDraw, ImageOps


def white(mask):
    """How many pixels of a mask are white in a PNG file of it."""
    file = io.BytesIO()
    mask.save(file, "PNG")
    return Image.open(file).convert("L").histogram()[255]


counts = {}
for fill in (1, 255):
    mask = Image.new("1", (16, 1), 0)
    ImageDraw.Draw(mask).rectangle((0, 0, 3, 0), fill=fill)
    counts[fill] = [white(m) for m in (mask, ImageOps.invert(mask), ImageChops.invert(mask), ImageOps.invert(mask.convert("L")))]
    print("fill {}: {} of 16 pixels are white, {} after ImageOps.invert, {} after ImageChops.invert, {} after convert('L') and invert".format(fill, *counts[fill]))
sys.exit(0 if counts == {1: [4, 16, 16, 12], 255: [4, 12, 12, 12]} else "the behaviour has changed")
PYTHON
