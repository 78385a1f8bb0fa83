"""Writes plans.json: the tiles and seams of Ultimate SD upscale by their description.

pip install pillow; python record.py
Tiles are rectangles of the grid, one pixel larger on the right and below. A band is a
ridge of width pixels over a seam, a half a ridge of a tile's size between two tiles, a
corner a spot of a tile's size where four meet. A mask is told by its checksum.
"""
import json
import math
import os
import zlib

from PIL import Image

BICUBIC = Image.BICUBIC


def half_ridge(size, angle):
    return Image.linear_gradient("L").rotate(angle).resize(size, BICUBIC)


def ridge(w, h, upright):
    out = Image.new("L", (w, h))
    if upright:
        out.paste(half_ridge((w // 2, h), 90), (0, 0))
        out.paste(half_ridge((w // 2, h), 270), (w // 2, 0))
    else:
        out.paste(half_ridge((w, h // 2), 0), (0, 0))
        out.paste(half_ridge((w, h // 2), 180), (0, h // 2))
    return out


def steps(p):
    cols, rows = math.ceil(p["W"] / p["TileW"]), math.ceil(p["H"] / p["TileH"])
    tw, th, pad, blur = p["TileW"], p["TileH"], p["SeamPadding"], p["SeamBlur"]
    up = lambda v: math.ceil(v / 64) * 64

    def at(part, x, y):
        mask = Image.new("L", (p["W"], p["H"]))
        mask.paste(part, (x, y))
        return mask

    grid = [(x, y) for y in range(rows) for x in range(cols)]
    tiles = {"Linear": grid, "Chess": [g for g in grid if sum(g) % 2 == 0] + [g for g in grid if sum(g) % 2], "None": []}[p["Redraw"]]
    white = Image.new("L", (tw + 1, th + 1), 255)
    yield from ((at(white, x * tw, y * th), up(tw + p["Padding"]), up(th + p["Padding"]), p["Padding"], p["Blur"]) for x, y in tiles)
    if p["Seams"] == "Band pass":
        wide = p["SeamWidth"]
        for x in range(1, cols):
            band = ridge(256, 256, True).resize((wide, p["H"]), BICUBIC)
            yield at(band, x * tw - wide // 2, 0), wide + 2 * pad, p["H"], pad, 0
        for y in range(1, rows):
            band = ridge(256, 256, False).resize((p["W"], wide), BICUBIC)
            yield at(band, 0, y * th - wide // 2), p["W"], wide + 2 * pad, pad, 0
    if p["Seams"].startswith("Half"):
        for x, y in grid:
            if y < rows - 1:
                yield at(ridge(tw, th, False), x * tw, y * th + th // 2), tw, th, pad, blur
        for x, y in grid:
            if x < cols - 1:
                yield at(ridge(tw, th, True), x * tw + tw // 2, y * th), tw, th, pad, blur
    if p["Seams"].endswith("intersections"):
        spot = Image.radial_gradient("L").resize((tw, th), BICUBIC).point(lambda v: 255 - v)
        for x, y in grid:
            if x < cols - 1 and y < rows - 1:
                yield at(spot, x * tw + tw // 2, y * th + th // 2), tw, th, 0, blur


cases = []
seams = ["None", "Band pass", "Half tile offset pass", "Half tile offset pass + intersections"]
for i, (w, h, tw, th) in enumerate([(192, 128, 64, 64), (150, 110, 64, 48), (100, 260, 65, 77), (64, 64, 64, 64), (300, 40, 128, 64), (90, 70, 31, 33)]):
    for seam in seams:
        p = dict(W=w, H=h, TileW=tw, TileH=th, Redraw=["Linear", "Chess", "None"][(i + len(cases)) % 3], Padding=[32, 0, 17][i % 3], Blur=8, Seams=seam,
                 SeamWidth=[64, 15, 20][i % 3], SeamPadding=[16, 5][i % 2], SeamBlur=4)
        cases.append({"plan": p, "steps": [[zlib.crc32(mask.tobytes()), *rest] for mask, *rest in steps(p)]})
with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "plans.json"), "w") as f:
    f.write("[\n" + ",\n".join(json.dumps(c) for c in cases) + "\n]\n")
