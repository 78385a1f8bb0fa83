"""train_controlnet.py UNET.pt VAE.pt OUT.pt SECONDS: a ControlNet for Canny edges, the UNet being fixed.

SECONDS are of the wall clock; goes on from OUT.pt if there is one.
"""

from __future__ import annotations

import random
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import torch

import drawings
from controlnet import ControlNet
from dataset import Prompts, latents, load_vae, to_tensor
from mixed import Mixed
from train_unet import WEIGHT, noisy, wanted
from unet import UNet
from vae import VAE

BATCH, POOL, SIZES = 8, 400, (128, 256)


def edges(picture) -> np.ndarray:
    """Canny with the thresholds that a1111's preprocessor has as defaults."""
    return cv2.Canny(np.asarray(picture), 100, 200)


class Pool:
    """Up to POOL drawings of one size, some of them replaced by fresh ones at each fourth batch."""

    def __init__(self, size: int, vae: VAE, r: random.Random):
        self.size, self.vae, self.r = size, vae, r
        self.z, self.hints = torch.empty(POOL, 4, size // 8, size // 8), np.empty((POOL, size, size), np.uint8)
        self.scenes: list[drawings.Scene] = []
        self.count = 0
        while len(self.scenes) < 40:
            self.draw()

    def draw(self) -> None:
        at = len(self.scenes) if len(self.scenes) < POOL else self.r.randrange(0, POOL, 4)
        scenes = [drawings.sample(self.r) for _ in range(4)]
        pictures = [drawings.draw(s, self.size, self.r) for s in scenes]
        self.z[at : at + 4] = latents(self.vae, to_tensor(pictures))
        self.hints[at : at + 4] = np.stack([edges(p) for p in pictures])
        self.scenes[at : at + 4] = scenes

    def batch(self, n: int) -> tuple[torch.Tensor, torch.Tensor, list[drawings.Scene]]:
        self.count += 1
        if len(self.scenes) < POOL or self.count % 4 == 0:
            self.draw()
        ids = [self.r.randrange(len(self.scenes)) for _ in range(n)]
        hint = torch.from_numpy(self.hints[ids]).to(torch.bfloat16)[:, None].div(255).expand(-1, 3, -1, -1)
        return self.z[ids], hint.contiguous(memory_format=torch.channels_last), [self.scenes[i] for i in ids]


def main() -> None:
    unet_path, vae_path, out, seconds = *sys.argv[1:4], float(sys.argv[4])
    torch.set_num_threads(1)
    r = random.Random(time.time_ns())
    torch.manual_seed(time.time_ns() % 2**31)
    unet = UNet()
    unet.load_state_dict(torch.load(unet_path)["mean"])
    control = ControlNet(unet)
    if Path(out).exists():
        control.load_state_dict(torch.load(out))
    unet = unet.bfloat16().requires_grad_(False).to(memory_format=torch.channels_last)
    net = Mixed(control, weight_decay=0.01)
    vae = load_vae(vae_path)
    vae.enc.bfloat16()
    prompts = Prompts()
    pools = {size: Pool(size, vae, r) for size in SIZES}
    begin, step, log, kept = time.time(), 0, [], time.time()
    while (done := (time.time() - begin) / seconds) < 1:
        # Edges are a local matter: most of it is learnt on small pictures.
        size = SIZES[step % 4 == 3]
        z, hint, scenes = pools[size].batch(BATCH)
        words = ["" if r.random() < 0.25 else drawings.prompt(s, r) for s in scenes]
        x, t, noise = noisy(z)
        x = x.bfloat16().contiguous(memory_format=torch.channels_last)

        def guess(words: list[str]) -> torch.Tensor:
            context, mask = (v.bfloat16() for v in prompts(words))
            return unet(x, t, context, mask, net.quick(x, hint, t, context, mask)).float()

        loss = ((guess(words) - wanted(guess, words, noise)).square().mean((1, 2, 3)) * WEIGHT[t]).mean()
        net.step(loss, 1e-3 * min(1, (step + 1) / 50) * (1 - 0.95 * max(0, done - 0.4) / 0.6))
        step += 1
        log.append(loss.item())
        if step % 25 == 0:
            print(f"{time.strftime('%H:%M:%S')} step {step} loss {np.mean(log[-25:]):.4f}", flush=True)
        if time.time() - kept > 100:
            torch.save(control.state_dict(), out)
            kept = time.time()
    torch.save(control.state_dict(), out)


if __name__ == "__main__":
    main()
