#!/usr/bin/env bash
# sd-parsers 0.6: pictures that are read one after another now and then get the prompt of the picture before. The text of a JPEG or
# WebP file is kept until a picture with another id() comes, and Python gives the id of a freed picture to the next one.
#
# Expected: of 1000 JPEG files, each with its own prompt and read once, some are told to have another one's; PNG files never.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check sd-parsers==0.6 pillow==12.0.0
PYTHONHASHSEED=0 "$dir/venv/bin/python" - "$dir" <<'PYTHON'
import sys
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from sd_parsers import ParserManager


def write(path, prompt):
    """Writes a picture with A1111's text of parameters."""
    text = f"{prompt}\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1, Size: 8x8, Model: m"
    if path.endswith(".png"):
        chunks = PngInfo()
        chunks.add_text("parameters", text)
        Image.new("RGB", (8, 8)).save(path, pnginfo=chunks)
        return
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9286] = b"UNICODE\0" + text.encode("utf_16_be")
    Image.new("RGB", (8, 8)).save(path, exif=exif)


wrong = {}
parser = ParserManager()
for extension in ("jpg", "png"):
    paths = [f"{sys.argv[1]}/{i}.{extension}" for i in range(1000)]
    for i, path in enumerate(paths):
        write(path, f"picture {i}")
    wrong[extension] = []
    for i, path in enumerate(paths):
        info = parser.parse(path)
        prompt = info.prompts[0].value
        if prompt != f"picture {i}":
            wrong[extension].append((i, prompt))
print(f"of 1000 files with the prompts 'picture 0' to 'picture 999': {len(wrong['jpg'])} JPEG and {len(wrong['png'])} PNG files have a wrong one")
if wrong["jpg"]:
    print("the first: file {} is told to show {!r}".format(*wrong["jpg"][0]))
sys.exit(0 if wrong["jpg"] and not wrong["png"] else "the behaviour has changed")
PYTHON
