"""evaluate.py JUDGE.safetensors UNET.pt VAE.pt [--stored] [--sheet OUT.png]: share of pictures that the judge finds right.

Without the program and fifty times as fast, to look at a net while it is trained and to compare; internal/democount counts
what the program draws. Same prompts, Euler a, 20 steps, CFG 7.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import torch
from PIL import Image

import drawings
import judge
import sample
from sheet import sheet

PROMPTS = Path(__file__).parents[2] / "internal/democount/prompts"
PLAIN = re.compile(rf"an? (\w+) (\w+)(?: and an? (\w+) (\w+))?(?: ({'|'.join(drawings.PLACES.values())})| on an? (\w+) background)?")


def wanted(prompt: str) -> dict[str, str]:
    colour, thing, colour2, thing2, place, background = PLAIN.fullmatch(prompt).groups()
    things = [drawings.Thing(thing, colour), *([drawings.Thing(thing2, colour2)] if thing2 else [])]
    name = next((k for k, words in drawings.PLACES.items() if words == place), None)
    return judge.labels(drawings.Scene(things, "background" if background else name, background))


def main() -> None:
    p = argparse.ArgumentParser()
    p.add_argument("judge")
    p.add_argument("unet")
    p.add_argument("vae")
    p.add_argument("--size", type=int, default=256)
    p.add_argument("--cfg", type=float, default=7)
    p.add_argument("--every", type=int, default=1, help="only each nth prompt")
    p.add_argument("--stored", action="store_true", help="with weights in 8 bits")
    p.add_argument("--sheet")
    a = p.parse_args()
    torch.set_num_threads(1)
    model, judging, all_pictures = sample.load(a.unet, a.vae, a.stored), judge.load(a.judge), []
    for name in ("one", "two"):
        group = (PROMPTS / f"{name}.txt").read_text().splitlines()[:: a.every]
        right: dict[str, list[bool]] = {k: [] for k in judge.HEADS}
        wrong, pictures = [], []
        for i in range(0, len(group), 12):
            pictures += model(group[i : i + 12], a.size, cfg=a.cfg, seed=100 + i)
        for prompt, found in zip(group, judge.verdicts(judging, pictures)):
            want = wanted(prompt)
            for k in right:
                right[k].append(found[k] == want[k])
            bad = {k: found[k] for k in right if found[k] != want[k]}
            if bad:
                wrong.append(f"{prompt}: {bad}")
        shares = {k: f"{100 * sum(v) / len(v):.1f}" for k, v in right.items()}
        every = [all(v) for v in zip(*right.values())]
        print(name, len(group), shares, f"all right {100 * sum(every) / len(every):.1f}", *wrong, sep="\n  ")
        all_pictures += pictures
    if a.sheet:
        sheet([p.resize((128, 128), Image.Resampling.BOX) for p in all_pictures], 12, 2).save(a.sheet)


if __name__ == "__main__":
    main()
