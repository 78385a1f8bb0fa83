#!/usr/bin/env bash
# exifr 7.1.3: the text that A1111 keeps in a PNG comes back whole only if it is ASCII. The specification has Latin-1 in tEXt chunks, exifr
# reads UTF-8, so an umlaut is lost; any other letter makes Pillow write an iTXt chunk, and in those exifr looks for XMP alone.
#
# Expected: the parameters of "a cat" are whole, those of "ein Kätzchen" have U+FFFD, and those of "ein Kätzchen 猫" are undefined. No error.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check pillow==12.0.0
npm install --silent --no-fund --no-audit exifr@7.1.3 >/dev/null
venv/bin/python - <<'PYTHON'
from PIL import Image
from PIL.PngImagePlugin import PngInfo

for name, prompt in (("latin", "a cat"), ("accents", "ein Kätzchen"), ("han", "ein Kätzchen 猫")):
    chunks = PngInfo()
    chunks.add_text("parameters", prompt + "\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1, Size: 8x8")
    Image.new("RGB", (8, 8)).save(name + ".png", pnginfo=chunks)
PYTHON
cat >read.cjs <<'JS'
const exifr = require('exifr')
const read = async name => (await exifr.parse(name + '.png', true))?.parameters
;(async () => {
  const [latin, accents, han] = [await read('latin'), await read('accents'), await read('han')]
  console.log('parameters of "a cat":', JSON.stringify(latin))
  console.log('parameters of "ein Kätzchen":', JSON.stringify(accents))
  console.log('parameters of "ein Kätzchen 猫":', JSON.stringify(han))
  if (!latin?.startsWith('a cat') || !accents?.startsWith('ein K\uFFFDtzchen') || han !== undefined) throw new Error('the behaviour has changed')
})()
JS
node read.cjs
