"""train_vae.py OUT.pt SECONDS [START.pt]: trains the VAE on crops of fresh drawings.

With --decoder, only the decoder, on latents with the noise that a UNet leaves.
"""

from __future__ import annotations

import argparse
import copy
import random
import time

import numpy as np
import torch
from torch.nn import functional as F

import drawings
from dataset import latents
from mixed import Mixed
from vae import MIX, VAE

BATCH, CROP = 6, 96


def crops(r: random.Random, n: int) -> torch.Tensor:
    """(n, 3, CROP, CROP) in -1..1, cut on the grid of the latents."""
    out = np.empty((n, CROP, CROP, 3), np.uint8)
    for i in range(0, n, 3):
        size = 256 if r.random() < 0.75 else 128
        picture = np.asarray(drawings.draw(drawings.sample(r), size, r))
        for k in range(i, min(i + 3, n)):
            # Two of three crops near the middle, where the objects are.
            y, x = ((r.randint(0, (size - CROP) // 8) + (r.randint(0, (size - CROP) // 8) if k % 3 else 0)) * 8 // (2 if k % 3 else 1) // 8 * 8 for _ in "yx")
            out[k] = picture[y : y + CROP, x : x + CROP]
    return torch.from_numpy(out).permute(0, 3, 1, 2).float() / 127.5 - 1


def loss(y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Mean of absolute and squared errors and of errors of the gradients, larger at edges."""
    e = y - x
    dx, dy = (x[..., 1:] - x[..., :-1]).abs().sum(1, keepdim=True), (x[..., 1:, :] - x[..., :-1, :]).abs().sum(1, keepdim=True)
    edge = F.max_pool2d(F.pad(dx, (0, 1)) + F.pad(dy, (0, 0, 0, 1)), 5, 1, 2).clamp(max=1)
    gradient = (e[..., 1:] - e[..., :-1]).abs().mean() + (e[..., 1:, :] - e[..., :-1, :]).abs().mean()
    return (e.abs() * (1 + edge)).mean() + 2 * e.square().mean() + 0.7 * gradient


def main() -> None:
    p = argparse.ArgumentParser()
    p.add_argument("out")
    p.add_argument("seconds", type=float, help="of processor time")
    p.add_argument("start", nargs="?")
    p.add_argument("--decoder", action="store_true")
    p.add_argument("--rate", type=float, default=2e-3)
    p.add_argument("--noise", type=float, default=0.3, help="largest noise on latents for the decoder")
    a = p.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(time.time_ns() % 2**31)
    r = random.Random(time.time_ns())
    vae = VAE()
    if a.start:
        vae.load_state_dict(torch.load(a.start))
    net = Mixed(vae.dec if a.decoder else vae, weight_decay=0.0)
    decoder = net.quick if a.decoder else net.quick.dec
    encoder = copy.deepcopy(vae.enc.state_dict())
    if a.decoder:
        vae.enc.bfloat16()

    def save() -> None:
        state = vae.state_dict()
        if a.decoder:  # The encoder as it was, not in bfloat16.
            state |= {"enc." + k: v for k, v in encoder.items()}
        torch.save(state, a.out)

    errors: list[float] = []
    step, saved = 0, time.time()
    while (done := time.process_time() / a.seconds) < 1:
        rate = a.rate * min(1, (step + 1) / 40) * (0.03 + 0.97 * 0.5 * (1 + np.cos(np.pi * done)))
        x = crops(r, BATCH)
        if a.decoder:
            z = latents(vae, x)
            z = z + a.noise * torch.rand(BATCH, 1, 1, 1) * torch.randn_like(z)
            y = decoder((z * vae.std[:, None, None] + vae.mean[:, None, None]).bfloat16()).float()
            total = loss(y, x)
        else:
            mean, log = (v.float() for v in net.quick.encode(x.bfloat16()))
            spread = mean.detach().std((0, 2, 3), keepdim=True)
            z = mean + torch.randn_like(mean) * (log.exp() + (0.12 * spread).square()).sqrt()
            y = decoder(z.bfloat16()).float()
            kl = 0.5 * (mean.square() + log.exp() - 1 - log).mean()
            colour = (mean[:, :3] - torch.einsum("oc,bchw->bohw", MIX, F.avg_pool2d(x, 8))).square().mean()
            total = loss(y, x) + 3e-4 * kl + 0.05 * colour
        net.step(total, rate)
        errors.append((y.detach() - x).square().mean().item())
        step += 1
        if step % 25 == 0:
            print(f"{step} {time.process_time():.0f}s psnr {10 * np.log10(4 / np.mean(errors[-25:])):.2f}", flush=True)
        if time.time() - saved > 60:
            save()
            saved = time.time()
    if not a.decoder:
        whiten(vae, r)
    save()


@torch.no_grad()
def whiten(vae: VAE, r: random.Random) -> None:
    """Measures the spread of the latents of 200 drawings."""
    z = []
    for _ in range(200):
        x = torch.from_numpy(np.array(drawings.draw(drawings.sample(r), 256, r))).permute(2, 0, 1).float() / 127.5 - 1
        z.append(vae.encode(x[None])[0])
    z = torch.cat(z)
    vae.mean.copy_(z.mean((0, 2, 3)))
    vae.std.copy_(z.std((0, 2, 3)))


if __name__ == "__main__":
    main()
