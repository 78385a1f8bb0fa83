"""evaluate.py JUDGE.safetensors UNET.pt VAE.pt [--size 256] [--sheet OUT.png]: share of pictures that the judge finds right.

120 prompts with one object (all objects, ten colours, places and coloured backgrounds) and 40 with two, Euler a, 20 steps, CFG 7.
"""

from __future__ import annotations

import argparse
import random

import torch
from PIL import Image

import drawings
import judge
import sample
from sheet import sheet


def scenes() -> tuple[list[drawings.Scene], list[drawings.Scene]]:
    r = random.Random(2024)
    colours = [c for c in drawings.COLOURS if c != "gray"]
    one, two = [], []
    for i in range(120):
        name, colour = drawings.OBJECTS[i % 12], colours[(i // 12 + i) % 10]
        place = [None, "background", *drawings.PLACES][(i // 12 + i % 7) % 7]
        one.append(drawings.Scene([drawings.Thing(name, colour)], place, r.choice([c for c in colours if c != colour]) if place == "background" else None))
    for i in range(40):
        a, b = r.sample(drawings.OBJECTS, 2)
        c, d = r.sample(colours, 2)
        two.append(drawings.Scene([drawings.Thing(a, c), drawings.Thing(b, d)], [None, *drawings.PLACES][i % 6]))
    return one, two


def main() -> None:
    p = argparse.ArgumentParser()
    p.add_argument("judge")
    p.add_argument("unet")
    p.add_argument("vae")
    p.add_argument("--size", type=int, default=256)
    p.add_argument("--cfg", type=float, default=7)
    p.add_argument("--every", type=int, default=1, help="only each nth prompt")
    p.add_argument("--sheet")
    a = p.parse_args()
    torch.set_num_threads(1)
    model, judging, all_pictures = sample.load(a.unet, a.vae), judge.load(a.judge), []
    for kind, group in zip(("one object", "two objects"), scenes()):
        group = group[:: a.every]
        right: dict[str, list[bool]] = {k: [] for k in judge.HEADS}
        wrong, pictures = [], []
        for i in range(0, len(group), 12):
            words = [drawings.prompt(s) for s in group[i : i + 12]]
            pictures += model(words, a.size, cfg=a.cfg, seed=100 + i)
        for scene, found in zip(group, judge.verdicts(judging, pictures)):
            wanted = judge.labels(scene)
            for k in right:
                right[k].append(found[k] == wanted[k])
            bad = {k: found[k] for k in right if found[k] != wanted[k]}
            if bad:
                wrong.append(f"{drawings.prompt(scene)}: {bad}")
        shares = {k: f"{100 * sum(v) / len(v):.0f}" for k, v in right.items()}
        every = [all(v) for v in zip(*right.values())]
        print(kind, len(group), shares, f"all right {100 * sum(every) / len(every):.0f}", *wrong, sep="\n  ")
        all_pictures += pictures
    if a.sheet:
        sheet([p.resize((96, 96), Image.Resampling.BOX) for p in all_pictures], 12, 2).save(a.sheet)


if __name__ == "__main__":
    main()
