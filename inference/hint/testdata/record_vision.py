"""Writes vision.json: what CLIP's image encoder gets of pictures, by OpenCV and transformers, as annotator/clipvision of the ControlNet extension calls them, and what depth_anything makes of them.

    pip install opencv-python-headless==4.10.0.84 transformers torch
    python record_vision.py
"""

import json
import os

import cv2
import numpy as np
import torch
from transformers import CLIPImageProcessor

processor = CLIPImageProcessor(
    crop_size=224, do_center_crop=True, do_convert_rgb=True, do_normalize=True, do_resize=True, resample=3, size=224,
    image_mean=[0.48145466, 0.4578275, 0.40821073], image_std=[0.26862954, 0.26130258, 0.27577711])


def picture(w, h):
    y, x, c = np.mgrid[:h, :w, :3]
    return ((x * 7 + y * 13 + c * 29 + x * y // 5) % 256).astype(np.uint8)


def mask(w, h):
    y, x = np.mgrid[:h, :w]
    return ((x * 3 + y * 2) % 256 * (x > w // 2)).astype(np.uint8)


cases = []
for w, h, masked in [(64, 48, False), (300, 200, False), (448, 448, False), (500, 701, False), (100, 500, False), (512, 384, True), (224, 224, True)]:
    image = np.concatenate([picture(w, h), mask(w, h)[:, :, None]], axis=2) if masked else picture(w, h)
    image = cv2.resize(image, (224, 224), interpolation=cv2.INTER_AREA)
    values = processor(images=image[:, :, :3], return_tensors="np")["pixel_values"][0]
    if masked:
        values = values * ((255 - image[:, :, 3]).astype(np.float32) / 255)
    flat = values.reshape(-1)
    cases.append({"width": w, "height": h, "masked": masked, "every": 499, "want": [round(float(v), 6) for v in flat[::499]], "sum": float(flat.astype(np.float64).sum())})
# depth_anything: annotator/depth_anything.py with util/transform.py of its authors, on pictures that need no other size.
depths = []
for w, h in [(512, 512), (768, 512), (64, 128), (640, 576)]:
    image = cv2.cvtColor(picture(w, h), cv2.COLOR_BGR2RGB) / 255.0
    scale = max(518 / h, 518 / w)
    sides = []
    for side in (h, w):
        n = (np.round(scale * side / 14) * 14).astype(int)
        sides.append(int(n if n >= 518 else np.ceil(scale * side / 14) * 14))
    image = cv2.resize(image, (sides[1], sides[0]), interpolation=cv2.INTER_CUBIC)
    image = ((image - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]).transpose(2, 0, 1).astype(np.float32)
    near = torch.from_numpy(image[0] + 0.5 * image[1])
    near = torch.nn.functional.interpolate(near[None, None], (h, w), mode="bilinear", align_corners=False)[0, 0]
    near = (near - near.min()) / (near.max() - near.min()) * 255.0
    depths.append({"width": w, "height": h, "seen_width": sides[1], "seen_height": sides[0], "every": 2003,
                   "seen": [round(float(v), 5) for v in image.reshape(-1)[::2003]], "want": near.numpy().astype(np.uint8).reshape(-1)[::997].tolist()})
with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "vision.json"), "w") as f:
    json.dump({"about": "picture: (7x + 13y + 29c + xy/5) mod 256; mask: (3x + 2y) mod 256 right of the middle", "cases": cases, "depths": depths}, f)
