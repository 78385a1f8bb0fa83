"""Records what ultralytics finds with small YOLOv8 networks of random weights.

Writes detect.pt and segment.pt, files as ultralytics saves them after a training,
picture.png, and found.json: boxes, confidences, classes and masks of predict(); and
masks.json: what OpenCV and Pillow make of a mask.

    pip install ultralytics==8.3.75 torch torchvision opencv-python-headless pillow
    python record.py
"""

import base64
import copy
import json
import os
import pathlib
import random
import zlib

import cv2
import numpy as np
import torch
import ultralytics
import yaml
from PIL import Image, ImageChops, ImageDraw
from ultralytics import YOLO
from ultralytics.nn.modules import Conv
from ultralytics.utils.torch_utils import strip_optimizer

HERE = pathlib.Path(__file__).parent
SIDE = 192  # what the networks say they were trained for
torch.set_num_threads(1)


def tiny(name, kind, seed, bias):
    """Saves a network of the real layers, as narrow as they go."""
    folder = pathlib.Path(ultralytics.__file__).parent / "cfg/models/v8"
    layout = yaml.safe_load((folder / kind).read_text())
    del layout["scales"]
    layout.update(nc=2, depth_multiple=0.33, width_multiple=1 / 64)
    if kind.endswith("-seg.yaml"):
        layout["head"][-1][3] = ["nc", 8, 64]
    file = HERE / "tiny.yaml"
    file.write_text(yaml.safe_dump(layout, sort_keys=False))
    torch.manual_seed(seed)
    model = YOLO(str(file)).model
    file.unlink()
    head = model.model[-1]
    with torch.no_grad():
        for level, x in enumerate(head.cv2):  # the widest layers that do not depend on the factor
            head.cv2[level] = torch.nn.Sequential(Conv(x[0].conv.in_channels, 16, 3), Conv(16, 16, 3), torch.nn.Conv2d(16, 64, 1))
        norms = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
        for norm in norms:
            norm.weight.uniform_(0.8, 1.8)
            norm.bias.normal_(0, 0.4)
            norm.momentum, norm.eps = 1.0, 1e-3
        model.train()
        model(torch.rand(4, 3, SIDE, SIDE))  # so that numbers neither vanish nor grow from layer to layer
        model.eval()
        for norm in norms:
            norm.momentum = 0.03
        for branch in head.cv3:
            branch[-1].weight.normal_(0, 0.5)
            branch[-1].bias.fill_(bias)
        for branch in head.cv2:
            branch[-1].weight.normal_(0, 0.3)
        for branch in getattr(head, "cv4", []):
            branch[-1].weight.normal_(0, 0.5)
    model.args = {"imgsz": SIDE, "task": "segment" if kind.endswith("-seg.yaml") else "detect"}
    model.names = {0: "face", 1: "hand"}
    weights = copy.deepcopy(model).half()
    path = HERE / name
    torch.save({
        "epoch": 3, "best_fitness": 0.5, "model": None, "ema": weights, "updates": 7, "optimizer": None,
        "train_args": {"imgsz": SIDE, "task": model.args["task"], "model": "tiny.yaml", "batch": 16},
        "train_metrics": {"fitness": np.float64(0.5)}, "date": "2025-01-01T00:00:00", "version": ultralytics.__version__,
    }, path)
    strip_optimizer(path)
    return path


def picture():
    """Is a drawing with edges of all kinds, 150 by 236 pixels."""
    random.seed(5)
    m = Image.new("RGB", (150, 236), (40, 90, 160))
    draw = ImageDraw.Draw(m)
    for _ in range(40):
        x, y, r = random.randrange(150), random.randrange(236), random.randrange(3, 40)
        colour = tuple(random.randrange(256) for _ in range(3))
        (draw.ellipse if random.random() < 0.5 else draw.rectangle)((x - r, y - r, x + r, y + r), fill=colour)
    m.save(HERE / "picture.png", optimize=True)
    return m


def packed(mask):
    """Is a mask of 0 and 1 as bits, the first pixel highest."""
    return base64.b64encode(zlib.compress(np.packbits(mask.astype(np.uint8)).tobytes())).decode()


def predict(path, m, confidence):
    """Is what the extension asks for: the picture, a confidence, nothing else."""
    result = YOLO(path)(m, conf=confidence, device="cpu", verbose=False)[0]
    case = {
        "file": path.name, "width": m.width, "height": m.height, "confidence": confidence,
        "boxes": [[round(v, 3) for v in box] for box in result.boxes.xyxy.tolist()],
        "confidences": [round(v, 5) for v in result.boxes.conf.tolist()],
        "classes": [int(v) for v in result.boxes.cls.tolist()],
    }
    if result.masks is not None:
        data = result.masks.data
        case["mask_height"], case["mask_width"] = data.shape[1:]
        case["masks"] = [packed(mask.numpy() > 0) for mask in data]
    return case


def masks():
    """Are dilate, erode and offset as the extension calls them."""
    random.seed(9)
    m = Image.new("L", (37, 29), 0)
    draw = ImageDraw.Draw(m)
    draw.rectangle((4.7, 3.2, 15.9, 11.5), fill=255)
    draw.ellipse((20, 12, 36, 26), fill=130)
    cases = []
    for size in (1, 2, 3, 4, 5, 8, 40):
        kernel = cv2.getStructuringElement(cv2.MORPH_RECT, (size, size))
        cases.append({"grow": size, "want": grey(cv2.dilate(np.array(m), kernel, iterations=1))})
        cases.append({"grow": -size, "want": grey(cv2.erode(np.array(m), kernel, iterations=1))})
    for x, y in ((3, 0), (0, 5), (-40, 7), (12, -31)):
        cases.append({"x": x, "y": y, "want": grey(np.array(ImageChops.offset(m, x, -y)))})
    return {"width": 37, "height": 29, "mask": grey(np.array(m)), "cases": cases}


def grey(array):
    return base64.b64encode(zlib.compress(array.tobytes())).decode()


def main():
    m = picture()
    about = f"what ultralytics {ultralytics.__version__} predicts; masks are zlib, then bits of the letterbox"
    cases = []
    for name, kind, seed, bias, asked in (("detect.pt", "yolov8.yaml", 1, -2.0, (0.3, 0.6)), ("segment.pt", "yolov8-seg.yaml", 2, -2.5, (0.6, 0.8))):
        path = tiny(name, kind, seed, bias)
        for size in ((150, 236), (400, 250), (192, 192)):
            for confidence in asked:
                cases.append(predict(path, m.resize(size, Image.NEAREST), confidence))

    (HERE / "found.json").write_text(json.dumps({"about": about, "cases": cases}) + "\n")
    (HERE / "masks.json").write_text(json.dumps(masks()) + "\n")


if __name__ == "__main__":
    main()
