"""Writes resize.json: OpenCV's resizing, and the ControlNet extension's rules on top of it.

    pip install opencv-python-headless==4.9.0.80 numpy==1.26.4
    python record.py > resize.json
"""

import base64
import json

import cv2
import numpy as np

rng = np.random.default_rng(11)


def text(a):
    return base64.b64encode(np.ascontiguousarray(a, dtype=np.uint8).tobytes()).decode()


def noise(w, h):
    return rng.integers(0, 256, (h, w, 3), dtype=np.uint8)


def smooth(w, h):
    y, x = np.mgrid[0:h, 0:w]
    return np.stack([(x * 5 + y * 3) % 256, (np.sin(x / 7) * np.cos(y / 5) * 127 + 128), (x * y) % 256], axis=2).astype(np.uint8)


def segments(w, h, n):
    colours = rng.integers(0, 256, (n, 3), dtype=np.uint8)
    return colours[rng.integers(0, n, (h // 4 + 1, w // 4 + 1))].repeat(4, axis=0).repeat(4, axis=1)[:h, :w]


def drawing(w, h, width, colour=(255, 255, 255), ground=(0, 0, 0)):
    m = np.full((h, w, 3), ground, np.uint8)
    cv2.line(m, (2, 3), (w - 4, h - 5), colour, width)
    cv2.circle(m, (w // 2, h // 2), min(w, h) // 3, colour, width)
    cv2.line(m, (w - 3, 2), (w // 3, h - 2), colour, width)
    return m


def hit(x, kernel):
    return cv2.morphologyEx(x, cv2.MORPH_HITMISS, kernel) > 127


def quarters(kernels):
    return [np.rot90(k, n) for n in range(4) for k in kernels]


THIN = quarters([np.array([[-1, -1, -1], [0, 1, 0], [1, 1, 1]]), np.array([[0, -1, -1], [1, 1, -1], [0, 1, 0]])])
ENDS = quarters([np.array([[-1, -1, -1], [-1, 1, -1], [0, 0, -1]]), np.array([[-1, -1, -1], [-1, 1, -1], [-1, 0, 0]])])
RIDGES = [np.array(k, np.uint8) for k in (
    [[0, 0, 0], [1, 1, 1], [0, 0, 0]], [[0, 1, 0]] * 3, [[1, 0, 0], [0, 1, 0], [0, 0, 1]], [[0, 0, 1], [0, 1, 0], [1, 0, 0]])]


def thin(x, prune):
    for _ in range(32):
        found = False
        for k in THIN:
            gone = hit(x, k)
            found |= bool(gone.any())
            x[gone] = 0
        if not found:
            break
    if prune:
        for k in ENDS:
            x[hit(x, k)] = 0
    return x


def resize(m, w, h):
    """The extension's resizing of a hint, by its rules."""
    if m.shape[:2] == (h, w):
        return m
    colours = len(np.unique(m.reshape(-1, 3), axis=0))
    black_and_white = colours == 2 and m.min() < 16 and m.max() > 240
    smaller, larger = w * h < m.shape[0] * m.shape[1], w * h > m.shape[0] * m.shape[1]
    how = cv2.INTER_NEAREST if 2 < colours < 200 else cv2.INTER_AREA if smaller else cv2.INTER_CUBIC
    out = cv2.resize(m, (w, h), interpolation=how)
    if not black_and_white:
        return out
    grey = out.astype(np.float32).mean(axis=2).clip(0, 255).astype(np.uint8)
    block = np.ones((3, 3), np.uint8)
    opened = cv2.dilate(cv2.erode(m, block), block)
    lines = (opened < m).sum() * 2 > (m > 127).sum()
    if lines:
        ridges = np.zeros_like(grey)
        for k in RIDGES:
            np.putmask(ridges, cv2.dilate(grey, k) == grey, grey)
        grey = ridges
    _, grey = cv2.threshold(grey, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    if lines:
        grey = thin(grey, larger)
    return np.stack([grey] * 3, axis=2)


def fit(m, w, h, mode):
    side = lambda v: int(np.round(v))
    if mode == "stretch":
        return resize(m, w, h)
    k = (max if mode == "crop" else min)(w / m.shape[1], h / m.shape[0])
    border = np.median(np.concatenate([m[0], m[-1], m[:, 0], m[:, -1]]), axis=0).astype(np.uint8)
    m = resize(m, side(m.shape[1] * k), side(m.shape[0] * k))
    y, x = abs(h - m.shape[0]) // 2, abs(w - m.shape[1]) // 2
    if mode == "crop":
        return m[y:y + h, x:x + w]
    out = np.tile(border, (h, w, 1))
    out[y:y + m.shape[0], x:x + m.shape[1]] = m
    return out


cases = []


def case(name, m, w, h, out, **more):
    cases.append({"name": name, "from": [m.shape[1], m.shape[0]], "to": [w, h], "rgb": text(m), "want": text(out), **more})


HOW = {"nearest": cv2.INTER_NEAREST, "area": cv2.INTER_AREA, "cubic": cv2.INTER_CUBIC}
for how, flag in HOW.items():
    for (w, h), (to_w, to_h) in [((20, 30), (10, 15)), ((20, 30), (5, 10)), ((20, 30), (17, 19)), ((20, 30), (6, 29)), ((20, 14), (32, 24)),
                                 ((20, 30), (48, 12)), ((12, 20), (24, 10)), ((7, 5), (19, 17)), ((23, 25), (22, 24)), ((1, 9), (5, 4)), ((3, 2), (1, 1))]:
        for make in (noise, smooth):
            m = make(w, h)
            case(f"{how} {make.__name__} {w}x{h} to {to_w}x{to_h}", m, to_w, to_h, cv2.resize(m, (to_w, to_h), interpolation=flag), how=how)

PICTURES = {
    "photo": smooth(30, 20), "noise": noise(20, 24), "three colours": segments(28, 26, 3), "199 colours": None, "200 colours": None,
    "thin lines": drawing(32, 28, 1), "thick lines": drawing(32, 28, 5), "red lines": drawing(32, 28, 1, (255, 0, 0)),
    "dark on light": drawing(32, 28, 3, (0, 0, 0), (253, 253, 253)), "nearly black and white": drawing(30, 30, 1, (241, 241, 241), (15, 15, 15)),
    "two greys": drawing(30, 30, 2, (200, 200, 200), (30, 30, 50)), "one colour": np.full((10, 15, 3), 77, np.uint8),
}
for n in (199, 200):
    m = np.zeros((20, 20, 3), np.uint8)
    m[..., 0] = (np.arange(400) % n).reshape(20, 20)
    PICTURES[f"{n} colours"] = m
for name, m in PICTURES.items():
    for w, h in [(40, 48), (24, 16), (31, 27)]:
        for mode in ("stretch", "crop", "pad"):
            case(f"{name} to {w}x{h}, {mode}", m, w, h, fit(m, w, h, mode), mode=mode)

print("{\n \"about\": \"OpenCV %s, numpy %s\",\n \"cases\": [" % (cv2.__version__, np.__version__))
print(",\n".join("  " + json.dumps(c) for c in cases))
print(" ]\n}")
