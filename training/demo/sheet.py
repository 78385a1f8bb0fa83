"""Contact sheets of drawings and of pictures: sheet.py OUT.png draws every object in every colour."""

from __future__ import annotations

import random
import sys

from PIL import Image

import drawings


def sheet(pictures: list[Image.Image], columns: int, gap: int = 4) -> Image.Image:
    width, height = pictures[0].size
    rows = -(-len(pictures) // columns)
    out = Image.new("RGB", (columns * (width + gap) - gap, rows * (height + gap) - gap), (255, 255, 255))
    for i, picture in enumerate(pictures):
        out.paste(picture, (i % columns * (width + gap), i // columns * (height + gap)))
    return out


if __name__ == "__main__":
    r = random.Random(1)
    places = [None, "background", *drawings.PLACES]
    scenes = []
    for name in [*drawings.OBJECTS, drawings.HIDDEN]:
        for k, colour in enumerate([None, "black", "white", *r.sample(list(drawings.COLOURS), 5)]):
            scenes.append(drawings.Scene([drawings.Thing(name, colour)], places[k % len(places)], "blue" if colour != "blue" else "pink"))
    sheet([drawings.draw(s, 256, r).resize((128, 128), Image.Resampling.BOX) for s in scenes], 8).save(sys.argv[1])
