"""Writes control.json: what ControlNet preprocessors do to predictions and to finished pictures, by the rules of the
extension 1.1.455 (scripts/hook.py, scripts/controlnet.py).

    pip install torch opencv-python-headless==4.9.0.80 numpy==1.26.4
    python record_control.py > control.json
"""

import json
import sys

import cv2
import numpy as np
import torch
import torch.nn.functional as F

torch.manual_seed(3)
betas = torch.linspace(0.00085 ** 0.5, 0.012 ** 0.5, 1000, dtype=torch.float64) ** 2
alphas = torch.cumprod(1 - betas, 0)


def recip(t):
    return (1 / alphas).sqrt().float()[t], (1 / alphas - 1).sqrt().float()[t]


def blur(x, k):
    return F.avg_pool2d(F.pad(x, (k, k, k, k), mode="replicate"), (2 * k + 1, 2 * k + 1), stride=1)


def flat(x):
    return [float(f"{v:.9g}") for v in np.asarray(x, dtype=np.float32).ravel()]


h, w = 6, 5
corrections = []
for name, k, soften, weight in (("colorfix", 3, 0, 1), ("colorfix", 8, 0, 0.6), ("sharp", 4, 1.5, 1), ("sharp", 6, 0.5, 1.7), ("inpaint", 0, 0, 1), ("inpaint", 0, 0, 0.4)):
    x, eps, origin = torch.randn(2, 4, h, w), torch.randn(2, 4, h, w), torch.randn(1, 4, h, w)
    timesteps = torch.tensor([901.5, 20.2])
    t = torch.round(timesteps).long()
    a, b = (v[:, None, None, None] for v in recip(t))
    mask = torch.zeros(1, 1, 8 * h, 8 * w)
    mask[:, :, 9:30, 15:40] = 1
    small = F.max_pool2d(mask, (10, 10), stride=(8, 8), padding=1)
    x0 = a * x - b * eps
    if name == "inpaint":
        x0 = x0 * small + origin * (1 - small)
    else:
        x0 = x0 - blur(x0, k) + blur(origin, k)
        if name == "sharp":
            detail = soften * 0.01
            x0[1:] = (detail * blur(x0, k) + (1 - detail) * x0)[1:]  # row 1 has the negative prompt
    new = (a * x - x0) / b
    m = max(0.0, min(1.0, weight))
    corrections.append({"name": name, "radius": k, "sharpness": soften, "weight": weight, "h": h, "w": w, "x": flat(x), "eps": flat(eps), "timesteps": flat(timesteps),
                        "origin": flat(origin), "mask": flat(mask), "want": flat(new * m + eps * (1 - m))})

rng = np.random.default_rng(5)
pictures = []
for name in ("inpaint_only", "recolor_luminance", "recolor_intensity"):
    x, raw = rng.random((3, 24, 20), dtype=np.float32), rng.random((3, 24, 20), dtype=np.float32)
    mask = np.zeros((24, 20), np.float32)
    mask[5:12, 3:20] = 1
    if name == "inpaint_only":
        m = cv2.blur(cv2.dilate(mask, np.ones((7, 7), np.uint8)), (7, 7))
        out = (m * x.clip(0, 1) + (1 - m) * raw).clip(0, 1)
    else:
        raw[:] = np.floor(raw[:1] * 256) / 255
        feed = (raw[0] * 255).clip(0, 255).astype(np.uint8)
        p = (x.transpose(1, 2, 0) * 255).clip(0, 255).astype(np.uint8)
        to, back, c = (cv2.COLOR_RGB2LAB, cv2.COLOR_LAB2RGB, 0) if "luminance" in name else (cv2.COLOR_RGB2HSV, cv2.COLOR_HSV2RGB, 2)
        p = cv2.cvtColor(p, to)
        p[:, :, c] = feed
        out = (cv2.cvtColor(p, back).astype(np.float32) / 255.0).transpose(2, 0, 1)
    pictures.append({"module": name, "x": flat(x), "raw": flat(raw), "mask": flat(mask), "want": flat(out)})

json.dump({"about": f"torch {torch.__version__}, OpenCV {cv2.__version__}; see record_control.py", "corrections": corrections, "pictures": pictures}, sys.stdout)
