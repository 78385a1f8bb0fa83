"""Writes modules.json: what the preprocessors of the ControlNet extension 1.1.455 give by its rules, with OpenCV.

    pip install opencv-python-headless==4.9.0.80 numpy==1.26.4
    python record_modules.py > modules.json
"""

import base64
import json
import sys
import warnings

import cv2
import numpy as np

rng = np.random.default_rng(7)
warnings.simplefilter("ignore")  # the median of nothing


def text(a):
    return base64.b64encode(np.ascontiguousarray(a).tobytes()).decode()


def smooth(w, h):
    y, x = np.mgrid[0:h, 0:w]
    return np.stack([(x * 5 + y * 3) % 256, (np.sin(x / 7) * np.cos(y / 5) * 127 + 128), (x * y) % 256], axis=2).astype(np.uint8)


def drawing(w, h):
    m = np.full((h, w, 3), 255, np.uint8)
    cv2.line(m, (2, 3), (w - 4, h - 5), (0, 0, 0), 1)
    cv2.circle(m, (w // 2, h // 2), min(w, h) // 3, (60, 20, 90), 2)
    cv2.rectangle(m, (w // 2, 2), (w - 3, h // 3), (120, 200, 40), -1)
    return m


PICTURES = {
    "smooth": smooth(37, 30),
    "drawing": drawing(33, 40),
    "noise": rng.integers(0, 256, (26, 26, 3), dtype=np.uint8),
    "flat": np.full((20, 24, 3), 77, np.uint8),
    "wide": smooth(300, 9),
    "line": smooth(40, 1),
}


def resized(m, resolution):
    k = resolution / min(m.shape[:2])
    h, w = (int(np.round(n * k)) for n in m.shape[:2])
    return cv2.resize(m, (w, h), interpolation=cv2.INTER_CUBIC if k > 1 else cv2.INTER_AREA)


def at_resolution(m, resolution, fn):
    m = resized(m, resolution)
    h, w = m.shape[:2]
    out = fn(np.pad(m, ((0, -h % 64), (0, -w % 64), (0, 0)), mode="edge"))
    out = out[:h, :w]
    return np.stack([out] * 3, axis=2) if out.ndim == 2 else out


def xdog(m, level):
    fine, coarse = (cv2.GaussianBlur(m.astype(np.float32), (0, 0), s) for s in (0.5, 5.0))
    dark = (255 - (coarse - fine).min(axis=2)).clip(0, 255).astype(np.uint8)
    out = np.zeros_like(m)
    out[2 * (255 - dark) > level] = 255
    return out


def lineart(m):
    f = m.astype(np.float32)
    lines = (cv2.GaussianBlur(f, (0, 0), 6.0) - f).min(axis=2).clip(0, 255)
    lines /= max(16, np.median(lines[lines > 8]))
    lines *= 127
    return lines.clip(0, 255).astype(np.uint8)


def darkest_above(m, level):
    out = np.zeros_like(m)
    out[m.min(axis=2) > level] = 255
    return out


def field(w, h, top):
    f = 256
    noise = np.random.uniform(low=0, high=1, size=((h // f) + 2, (w // f) + 2, 1))
    noise = cv2.resize(noise, (w + 2 * f, h + 2 * f), interpolation=cv2.INTER_CUBIC)[f:f + h, f:f + w]
    noise -= noise.min()
    noise /= noise.max()
    return noise * float(top)


def shuffle(m, seed):
    np.random.seed(seed)
    h, w = m.shape[:2]
    x = field(w, h, w - 1)
    y = field(w, h, h - 1)
    return cv2.remap(m, np.stack([x, y], axis=2).astype(np.float32), None, cv2.INTER_LINEAR)


def corrected(channel, gamma):
    v = channel.astype(np.float32) / 255.0
    v = (v ** gamma * 255.0).clip(0, 255).astype(np.uint8)
    return np.stack([v] * 3, axis=2)


cases = []


def case(picture, module, want, **more):
    grey = (want == want[:, :, :1]).all()
    cases.append({"picture": picture, "module": module, "size": [want.shape[1], want.shape[0]],
                  "grey" if grey else "rgb": text(want[:, :, 0] if grey else want), **more})


for name, m in PICTURES.items():
    if name == "line":
        continue
    if name == "wide":  # more cells of noise
        case(name, "shuffle", shuffle(resized(m, 10), 5), resolution=10, seed=5)
        continue
    for resolution in (19, 36):
        more = {"resolution": resolution}
        case(name, "canny", at_resolution(m, resolution, lambda m: cv2.Canny(m, 100, 200)), **more)
        case(name, "scribble_xdog", at_resolution(m, resolution, lambda m: xdog(m, 32)), **more)
        case(name, "scribble_xdog", at_resolution(m, resolution, lambda m: xdog(m, 12.5)), a=12.5, **more)
        case(name, "lineart_standard (from white bg & black line)", at_resolution(m, resolution, lineart), **more)
        case(name, "threshold", at_resolution(m, resolution, lambda m: darkest_above(m, 127)), **more)
        case(name, "threshold", at_resolution(m, resolution, lambda m: darkest_above(m, 63.5)), a=63.5, **more)
    for sigma in (0.3, 1, 9, 33.7):
        case(name, "blur_gaussian", cv2.GaussianBlur(resized(m, 20), (0, 0), sigma), resolution=20, a=sigma)
    for seed in (0, 4294967295):
        case(name, "shuffle", shuffle(resized(m, 22), seed), resolution=22, seed=seed)
    for rate in (1.05, 1.1, 2, 2.7):
        small = m if rate < 1.1 else cv2.resize(m, (int(m.shape[1] / rate), int(m.shape[0] / rate)), interpolation=cv2.INTER_AREA)
        case(name, "tile_resample", small, a=rate)
    for gamma in (1, 0.45, 1.8):
        case(name, "recolor_luminance", corrected(cv2.cvtColor(m, cv2.COLOR_BGR2LAB)[:, :, 0], gamma), a=gamma)
        case(name, "recolor_intensity", corrected(cv2.cvtColor(m, cv2.COLOR_BGR2HSV)[:, :, 2], gamma), a=gamma)
    case(name, "invert", 255 - m)
    for same in ("none", "tile_colorfix", "tile_colorfix+sharp"):
        case(name, same, m)
case("line", "blur_gaussian", cv2.GaussianBlur(resized(PICTURES["line"], 1), (0, 0), 4), resolution=1, a=4)

# Inpainting: the picture is resized as float32, with its mask as a fourth channel.
def distinct(m):
    return len(np.unique(m.reshape(-1, 3), axis=0))


def fit_masked(m, w, h):
    colours, mask = m[:, :, :3], m[:, :, 3]
    if m.shape[:2] != (h, w):
        n = distinct(colours)
        assert n != 2
        how = cv2.INTER_NEAREST if 2 < n < 200 else cv2.INTER_AREA if w * h < m.shape[0] * m.shape[1] else cv2.INTER_CUBIC
        colours, mask = cv2.resize(colours, (w, h), interpolation=how), cv2.resize(mask, (w, h), interpolation=how)
    return np.dstack([colours, (mask > 127).astype(np.float32) * 255])


def fit(m, w, h, mode):
    if mode == "stretch":
        return fit_masked(m, w, h)
    k = (max if mode == "crop" else min)(w / m.shape[1], h / m.shape[0])
    border = np.median(np.concatenate([m[0], m[-1], m[:, 0], m[:, -1]]), axis=0).astype(m.dtype)
    border[3] = 255
    m = fit_masked(m, int(np.round(m.shape[1] * k)), int(np.round(m.shape[0] * k)))
    y, x = abs(h - m.shape[0]) // 2, abs(w - m.shape[1]) // 2
    if mode == "crop":
        return m[y:y + h, x:x + w]
    out = np.tile(border, (h, w, 1))
    out[y:y + m.shape[0], x:x + m.shape[1]] = m
    return out


masked = []
for name in ("smooth", "noise", "drawing"):
    m = PICTURES[name]
    mask = np.zeros(m.shape[:2], np.uint8)
    cv2.circle(mask, (m.shape[1] // 2, m.shape[0] // 2), 8, 255, -1)
    mask[:4] = np.arange(mask.shape[1]) * 6
    for w, h in [(m.shape[1], m.shape[0]), (40, 32), (16, 24)]:
        for mode in ("stretch", "crop", "pad"):
            out = fit(np.dstack([m, mask]).astype(np.float32), w, h, mode)
            seen = (out[:, :, :3] / 255).transpose(2, 0, 1) * (1 - (out[:, :, 3] > 127)) - (out[:, :, 3] > 127)
            masked.append({"picture": name, "mask": text(mask), "mode": mode, "size": [w, h], "seen": text(np.round(seen * 255 * 64).astype(np.int16))})

json.dump({
    "about": f"OpenCV {cv2.__version__}, numpy {np.__version__}; see record_modules.py. seen is int16, in units of 1/(64*255)",
    "pictures": {name: {"size": [m.shape[1], m.shape[0]], "rgb": text(m)} for name, m in PICTURES.items()},
    "cases": cases, "masked": masked,
}, sys.stdout, separators=(",", ":"))
