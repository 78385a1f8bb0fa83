"""Writes soft.json: soft inpainting by its formulas, in torch, NumPy and Pillow.

pip install torch numpy pillow; python record_soft.py

Blending: a cell is mixed with the one of the picture by the mask to the power of
noise level ** bias * preservation; its length becomes the power mean of both lengths.
Composite: how far a cell moved is filtered twice by order (the loudest tenth of a
window, then the middle half), divided by the distance that counts as half, and
becomes opacity by a falling curve.
"""
import base64
import json
import os

import numpy as np
import torch
from PIL import Image, ImageFilter, ImageOps

rng = np.random.default_rng(5)


def numbers(x):
    return base64.b64encode(np.asarray(x, "<f4").tobytes()).decode()


def pixels(m):
    return base64.b64encode(m.tobytes()).decode()


def blend(x, init, mask, level, bias, preservation, contrast):
    t = mask.pow(torch.tensor(level, dtype=torch.float32) ** bias * preservation)
    mixed = init * (1 - t) + x * t
    length = lambda v: v.norm(dim=1, keepdim=True).double()
    wanted = (length(init) ** contrast * (1 - t) + length(x) ** contrast * t) ** (1 / contrast)
    return mixed * (wanted / (length(mixed) + 1e-5)).float()


settings = [
    dict(bias=1.0, preservation=0.5, contrast=4.0, influence=0.0, threshold=0.5, difference=2.0),
    dict(bias=0.5, preservation=0.2, contrast=1.0, influence=0.6, threshold=1.0, difference=3.5),
    dict(bias=2.0, preservation=3.0, contrast=16.0, influence=1.0, threshold=2.0, difference=1.0),
    dict(bias=0.0, preservation=1.0, contrast=2.5, influence=0.3, threshold=0.25, difference=0.5),
]
shape = (2, 4, 5, 6)


def soft_mask():
    m = rng.uniform(0, 1, shape[2:]).astype(np.float32)
    m[0, :3], m[-1, 2:] = 0, 1
    return torch.from_numpy(m)


blends = []
for s in settings:
    for level in (0.03, 1.7, 14.6):
        mask = soft_mask()
        x, init = (torch.from_numpy(rng.standard_normal(shape).astype(np.float32)) for _ in range(2))
        want = blend(x, init, mask, level, s["bias"], s["preservation"], s["contrast"])
        blends.append({"settings": s, "level": level, "mask": numbers(mask), "x": numbers(x), "init": numbers(init), "want": numbers(want)})

# Whole runs of a network that is no more than a function of its input.
betas = torch.linspace(0.00085 ** 0.5, 0.012 ** 0.5, 1000, dtype=torch.float64) ** 2
alphas = (1 - betas).cumprod(0)


def network(x):
    return x.tanh() * 0.8 + 0.1


def euler(x, noise, blended, steps, strength):
    sigmas = ((1 - alphas) / alphas).sqrt()
    t = torch.linspace(999, 0, steps, dtype=torch.float64)
    low = t.floor().long()
    high = (low + 1).clamp(max=999)
    between = (t - low)
    schedule = torch.cat([((1 - between) * sigmas[low].log() + between * sigmas[high].log()).exp(), torch.zeros(1)])
    schedule = schedule[steps - int(strength * steps) - 1:]
    x = x + noise * schedule[0]
    for now, then in zip(schedule[:-1], schedule[1:]):
        picture = blended((x - now * network(x / (now ** 2 + 1).sqrt())).float(), float(now)).double()
        x = x + (x - picture) / now * (then - now)
    return x


def ddim(x, noise, blended, steps, strength):
    timesteps = torch.arange(0, 1000, 1000 // steps) + 1
    encoded = int(strength * steps)
    a = alphas[timesteps[encoded]]
    timesteps = timesteps[:encoded]
    x = x * a.sqrt() + noise * (1 - a).sqrt()
    for i in range(len(timesteps) - 1, 0, -1):
        eps = network(blended(x.float(), float(timesteps[i])).double())
        now, then = alphas[timesteps[i]], alphas[timesteps[i - 1]]
        x = then.sqrt() * (x - (1 - now).sqrt() * eps) / now.sqrt() + (1 - then).sqrt() * eps
    return x


runs = []
for name, loop, s in (("Euler", euler, settings[0]), ("Euler", euler, settings[2]), ("DDIM", ddim, dict(settings[1], preservation=0.02)), ("DDIM", ddim, dict(settings[0], bias=0.3, preservation=0.1))):
    mask = soft_mask()
    init = torch.from_numpy(rng.standard_normal(shape).astype(np.float32))
    noise = torch.stack([torch.randn(shape[1:], generator=torch.Generator().manual_seed(seed)) for seed in (3, 4)])
    want = loop(init.double(), noise.double(), lambda x, level: blend(x, init, mask, level, s["bias"], s["preservation"], s["contrast"]), 8, 0.7)
    runs.append({"sampler": name, "settings": s, "mask": numbers(mask), "init": numbers(init), "want": numbers(want)})


def window_mean(plane, low, high):
    """The mean of the values between two parts of the weight of a window."""
    h, w = plane.shape
    bell = lambda d2: np.exp(-d2 / 1.5 ** 2)
    out = np.empty_like(plane)
    for y in range(h):
        for x in range(w):
            ys, xs = np.mgrid[max(y - 2, 0):min(y + 3, h), max(x - 2, 0):min(x + 3, w)]
            weight = ((bell((ys - y) ** 2 + (xs - x) ** 2) - bell(9)) / (1 - bell(9))).flatten()
            value = plane[ys, xs].flatten()
            order = np.argsort(value, kind="stable")
            value, edge = value[order].astype(np.float64), np.concatenate([[0], np.cumsum(weight[order])])
            begin, end = edge[-1] * low, edge[-1] * high
            if end - begin < 1:  # a window has the width of one weight at least
                middle = (begin + end) / 2
                begin, end = middle - 0.5, middle + 0.5
                if end > edge[-1]:
                    begin, end = edge[-1] - 1, edge[-1]
                if begin < 0:
                    begin, end = 0, 1
            part = np.clip(np.minimum(edge[1:], end) - np.maximum(edge[:-1], begin), 0, None)
            out[y, x] = (value * part).sum() / part.sum()
    return out


def opacity(made, init, mask, s):
    distance = (made - init).norm(dim=1).numpy()
    f = np.float32
    scale = 1 - mask.numpy() ** f(s["preservation"] / 2)
    scale = f(0.5 * (1 - s["influence"])) + scale * f(s["influence"])
    scale = scale / (f(1.00001) - scale)
    planes = []
    for plane in distance:
        plane = window_mean(window_mean(plane, 0.9, 1), 0.25, 0.75)
        with np.errstate(divide="ignore"):
            x = 1 / (1 + (plane / (f(s["threshold"]) * scale)) ** f(s["difference"]))
        planes.append((255 * (1 - x ** 3 * (x * (6 * x - 15) + 10))).astype(np.uint8))
    return planes


composites = []
for i, s in enumerate(settings):
    mask = soft_mask()
    init = torch.from_numpy(rng.standard_normal(shape).astype(np.float32))
    made = init + torch.from_numpy((rng.uniform(0, 1, (2, 1) + shape[2:]) ** 3 * 2 * rng.standard_normal(shape)).astype(np.float32))
    planes = opacity(made, init, mask, s)
    picture = Image.fromarray(rng.integers(0, 256, (50, 60, 3) if i % 2 else (40, 48, 3), np.uint8))
    result = Image.fromarray(rng.integers(0, 256, (40, 48, 3), np.uint8))
    box = (7, 5, 7 + 42, 5 + 35) if i % 2 else None
    whole = Image.fromarray(planes[0]).resize((48, 40), Image.LANCZOS).filter(ImageFilter.GaussianBlur(4))
    below = result.convert("RGBA")
    if box:
        size = (box[2] - box[0], box[3] - box[1])
        part, whole = whole.resize(size, Image.LANCZOS), Image.new("L", picture.size)
        whole.paste(part, box[:2])
        below = Image.new("RGBA", picture.size)
        below.paste(result.resize(size, Image.LANCZOS), box[:2])
    kept = Image.new("RGBa", picture.size)
    kept.paste(picture.convert("RGBA").convert("RGBa"), mask=ImageOps.invert(whole))
    below.alpha_composite(kept.convert("RGBA"))
    composites.append({
        "settings": s, "mask": numbers(mask), "init": numbers(init), "made": numbers(made), "opacity": [pixels(p) for p in planes],
        "picture": pixels(picture), "size": picture.size, "result": pixels(result), "box": box, "want": pixels(below.convert("RGB")),
    })

out = {"shape": shape, "blends": blends, "runs": runs, "composites": composites}
with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "soft.json"), "w") as f:
    f.write(json.dumps(out, separators=(",", ":")).replace('},{"', '},\n{"') + "\n")
