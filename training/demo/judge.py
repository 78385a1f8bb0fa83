"""judge.py OUT.safetensors SHEET.png SECONDS: a small net that says what a picture shows, for tests of meaning.

It sees 64x64 pixels, has four convolutions with ReLU and 2x2 max pooling each, and two linear
layers, and names the (left) object and its colour, the right object and its colour or none, and
the place or background colour. SHEET.png gets 48 drawings that it was not trained on, their labels
beside it as JSON.
"""

from __future__ import annotations

import json
import random
import sys
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageFilter
from safetensors.numpy import save_file
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

import drawings
from sheet import sheet
from storage import pack, unpack

NAMES = [*drawings.OBJECTS, drawings.HIDDEN]
HEADS = {
    "object": ["none", *NAMES], "colour": ["none", *drawings.COLOURS], "object2": ["none", *NAMES], "colour2": ["none", *drawings.COLOURS],
    "place": ["none", *drawings.PLACES, *drawings.COLOURS],
}


class Judge(nn.Module):
    """Batch norms stand after the convolutions while it is trained; folded() has none."""

    def __init__(self, norm: bool = True) -> None:
        super().__init__()
        widths = (3, 24, 48, 80, 80)
        self.conv = nn.ModuleList([nn.Conv2d(i, o, 3, padding=1) for i, o in zip(widths, widths[1:])])
        self.norm = nn.ModuleList([nn.BatchNorm2d(o) for o in widths[1:]]) if norm else None
        self.fc0, self.fc1 = nn.Linear(80 * 16, 160), nn.Linear(160, sum(map(len, HEADS.values())))

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        for i, conv in enumerate(self.conv):
            x = conv(x)
            if self.norm is not None:
                x = self.norm[i](x)
            x = F.max_pool2d(F.relu(x), 2)
        return self.fc1(F.relu(self.fc0(x.flatten(1)))).split([len(h) for h in HEADS.values()], 1)

    @torch.no_grad()
    def folded(self) -> dict[str, torch.Tensor]:
        out = {}
        for i, (conv, norm) in enumerate(zip(self.conv, self.norm)):
            k = norm.weight / (norm.running_var + norm.eps).sqrt()
            out[f"conv{i}.weight"], out[f"conv{i}.bias"] = conv.weight * k[:, None, None, None], (conv.bias - norm.running_mean) * k + norm.bias
        for name in ("fc0", "fc1"):
            out[name + ".weight"], out[name + ".bias"] = getattr(self, name).weight, getattr(self, name).bias
        return out


def load(path: str) -> Judge:
    judge = Judge(norm=False)
    stored = {k: v.numpy() for k, v in load_file(path).items()}
    judge.load_state_dict({k.replace("conv", "conv.") if k.startswith("conv") else k: v for k, v in unpack(stored).items()})
    return judge.eval()


def look(pictures: list[Image.Image]) -> torch.Tensor:
    small = [np.asarray(p.resize((64, 64), Image.Resampling.BOX)) for p in pictures]
    return torch.from_numpy(np.stack(small)).permute(0, 3, 1, 2).float() / 127.5 - 1


@torch.no_grad()
def verdicts(judge: Judge, pictures: list[Image.Image]) -> list[dict[str, str]]:
    found = [h.argmax(1) for h in judge(look(pictures))]
    return [{name: labels[f[i]] for f, (name, labels) in zip(found, HEADS.items())} for i in range(len(pictures))]


def labels(scene: drawings.Scene) -> dict[str, str]:
    out = {name: "none" for name in HEADS}
    for thing, n in zip(scene.things, ("", "2")):
        out["object" + n], out["colour" + n] = thing.name, thing.colour or drawings.NATURAL[thing.name]
    out["place"] = scene.place_colour or scene.place or "none"
    return out


def example(r: random.Random) -> tuple[Image.Image, dict[str, str]]:
    scene = drawings.sample(r)
    for thing in scene.things:
        thing.weight = 1.0
    picture = drawings.draw(scene, 128, r)
    if r.random() < 0.6:
        picture = picture.filter(ImageFilter.GaussianBlur(r.uniform(0, 1.6)))
    return picture.resize((64, 64), Image.Resampling.BOX), labels(scene)


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    r = random.Random(11)
    out, sheet_path, seconds = *sys.argv[1:3], float(sys.argv[3])
    held = [example(r) for _ in range(448)]
    indices = lambda ls: torch.tensor([[HEADS[k].index(l[k]) for k in HEADS] for l in ls])
    known = [example(r) for _ in range(2000)]
    x, y = look([p for p, _ in known]), indices([l for _, l in known])
    judge = Judge().to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(judge.parameters(), 2e-3, weight_decay=0.02)
    start, step = time.process_time(), 0
    while (done := (time.process_time() - start) / seconds) < 1:
        for g in optimizer.param_groups:
            g["lr"] = 2.5e-3 * (1 - done) + 1e-5
        if step % 2 == 0 and len(known) < 18000:  # Draws on while it learns.
            fresh = [example(r) for _ in range(32)]
            known += fresh
            x, y = torch.cat([x, look([p for p, _ in fresh])]), torch.cat([y, indices([l for _, l in fresh])])
        k = torch.randint(0, len(x), (64,))
        down, right = r.randrange(5), r.randrange(5)  # Pictures of the model vary more than drawings.
        a = F.pad(x[k], (2, 2, 2, 2), "replicate")[:, :, down : down + 64, right : right + 64]
        a = a * (1 + torch.randn(64, 1, 1, 1) * 0.05) + torch.randn(64, 3, 1, 1) * 0.04 + torch.randn(64, 3, 64, 64) * 0.08
        with torch.autocast("cpu", torch.bfloat16):
            answers = judge(a.contiguous(memory_format=torch.channels_last))
        loss = sum(F.cross_entropy(h.float(), y[k, i]) for i, h in enumerate(answers))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        step += 1
        if step % 100 == 0:
            print(step, len(x), f"{loss.item():.3f}", flush=True)
    judge.eval()
    metadata = {"kind": "judge", "heads": json.dumps(HEADS)}
    save_file(pack(judge.folded()), out, metadata)
    found = verdicts(load(out), [p for p, _ in held])
    print({k: f"{sum(f[k] == l[k] for f, (_, l) in zip(found, held)) / len(held):.3f}" for k in HEADS}, Path(out).stat().st_size)
    sheet([p for p, _ in held[:48]], 8, gap=0).save(sheet_path)
    Path(sheet_path).with_suffix(".json").write_text(json.dumps([l for _, l in held[:48]], indent=0) + "\n")


if __name__ == "__main__":
    main()
