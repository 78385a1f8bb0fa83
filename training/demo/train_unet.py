"""train_unet.py DATA OUT.pt SECONDS: trains the UNet on all DATA/*.pt that dataset.py made, in wall-clock seconds.

Goes on from OUT.pt if there is one, and picks up data files that appear while it runs.
"""

from __future__ import annotations

import argparse
import math
import random
import time
from collections.abc import Callable
from pathlib import Path

import torch

import drawings
from dataset import Prompts
from mixed import Mixed
from unet import UNet

ALPHA = torch.cumprod(1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2, 0)  # SD1's noise schedule.
WEIGHT = (ALPHA / (1 - ALPHA)).rsqrt().clamp(0.3, 10)  # Of the loss, by step.
# Prompts and drawings agree far better here than captions and photographs do, so that CFG 7 overshoots: colours
# burn out. So with a prompt the net learns a mean of what it knows without one, with this weight, and of the truth:
# guidance of CFG 7 then has the strength of CFG 4.
SOFT = 0.5


def noisy(z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """z with noise at steps spread evenly over the schedule, the steps, the noise."""
    n = len(z)
    t = ((torch.randperm(n) + torch.rand(n)) / n * 1000).long().clamp(0, 999)
    a, noise = ALPHA[t][:, None, None, None], torch.randn_like(z)
    return a.sqrt() * z + (1 - a).sqrt() * noise, t, noise


def wanted(guess: Callable[[list[str]], torch.Tensor], words: list[str], noise: torch.Tensor) -> torch.Tensor:
    """What guess, from prompts to noise, is to say for these words: see SOFT."""
    told = torch.tensor([w != "" for w in words])[:, None, None, None]
    with torch.no_grad():
        return torch.lerp(noise, guess([""] * len(words)), SOFT * told)


class Data:
    """Latents by size, in batches with freshly worded prompts."""

    def __init__(self, folder: str, r: random.Random):
        self.folder, self.r, self.seen = Path(folder), r, set()
        self.latents: dict[int, torch.Tensor] = {}
        self.scenes: dict[int, list[drawings.Scene]] = {}
        self.prompts = Prompts()
        self.look()

    def look(self) -> None:
        for path in sorted(self.folder.glob("*.pt")):
            if path not in self.seen:
                self.seen.add(path)
                d = torch.load(path, weights_only=False)
                z, size = d["latents"], d["latents"].shape[-1] * 8
                self.latents[size] = torch.cat([self.latents[size], z]) if size in self.latents else z
                self.scenes.setdefault(size, []).extend(d["scenes"])

    def batch(self, size: int, n: int, empty: float = 0.1) -> tuple[torch.Tensor, list[str]]:
        """Latents and a prompt for each, a share of them empty."""
        ids = [self.r.randrange(len(self.scenes[size])) for _ in range(n)]
        words = ["" if self.r.random() < empty else drawings.prompt(self.scenes[size][i], self.r) for i in ids]
        return self.latents[size][ids].float().contiguous(memory_format=torch.channels_last), words


def main() -> None:
    p = argparse.ArgumentParser()
    p.add_argument("data")
    p.add_argument("out")
    p.add_argument("seconds", type=float)
    p.add_argument("--rate", type=float, default=7e-4)
    p.add_argument("--batch", type=int, default=12, help="pictures of 256 pixels; twice as many of 128")
    p.add_argument("--small", type=float, default=0.12, help="share of steps on 128 pixels")
    p.add_argument("--soften-from", type=float, default=0.55, help="share of the time after which prompts are learnt with weight SOFT")
    p.add_argument("--average", type=float, default=0.995, help="decay of the averaged weights")
    a = p.parse_args()
    torch.set_num_threads(1)
    seed = time.time_ns() % 2**31
    torch.manual_seed(seed)
    data = Data(a.data, random.Random(seed))
    unet, mean = UNet(), UNet()
    spent, pictures, optimizer = 0.0, 0, None
    if Path(a.out).exists():
        saved = torch.load(a.out)
        unet.load_state_dict(saved["unet"])
        mean.load_state_dict(saved["mean"])
        optimizer = saved.get("optimizer")
        spent, pictures = saved.get("seconds", 0.0), saved.get("pictures", 0)
    net = Mixed(unet, weight_decay=0.01)
    if optimizer is not None:
        net.optimizer.load_state_dict(optimizer)
    averaged = list(mean.to(memory_format=torch.channels_last).parameters())

    def save() -> None:
        state = {"unet": unet.state_dict(), "mean": mean.state_dict(), "optimizer": net.optimizer.state_dict(), "seconds": spent, "pictures": pictures}
        torch.save(state, a.out + ".tmp")
        Path(a.out + ".tmp").rename(a.out)

    step, log, last, kept = 0, [], time.time(), time.time()
    while spent < a.seconds:
        done = spent / a.seconds
        rate = a.rate * min(1, (step + 1) / 50) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * max(0, done - 0.3) / 0.7)))
        small = 128 in data.scenes and (256 not in data.scenes or random.random() < a.small)
        z, words = data.batch(128 if small else 256, a.batch * (2 if small else 1))
        x, t, noise = noisy(z)
        guess = lambda prompts: net.quick(x.bfloat16(), t, *(v.bfloat16() for v in data.prompts(prompts))).float()
        target = wanted(guess, words, noise) if done > a.soften_from else noise
        error = (guess(words) - target).square().mean((1, 2, 3))
        loss = (error * WEIGHT[t]).mean()
        net.step(loss, rate)
        step += 1
        pictures += len(z)
        with torch.no_grad():
            torch._foreach_lerp_(averaged, net.weights, 1 - min(a.average, (step + 1) / (step + 10)))
        now = time.time()
        spent, last = spent + min(now - last, 60.0), now
        if not small:
            log.append(loss.item())
        if step % 50 == 0:
            print(f"{time.strftime('%H:%M:%S')} step {step} pictures {pictures} of {len(data.scenes.get(256, []))}+{len(data.scenes.get(128, []))} {spent:.0f}s cpu {time.process_time():.0f}s "
                  f"loss {sum(log[-50:]) / max(1, len(log[-50:])):.4f} rate {rate:.1e}", flush=True)
            data.look()
        if now - kept > 150:
            save()
            kept = now
    save()


if __name__ == "__main__":
    main()
