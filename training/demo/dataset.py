"""dataset.py VAE.pt OUT.pt COUNT SIZE SEED: draws pictures and stores their whitened latents with their scenes."""

from __future__ import annotations

import random
import sys

import numpy as np
import torch

import drawings
import text
from vae import VAE


def to_tensor(pictures: list) -> torch.Tensor:
    """PIL pictures as (n, 3, h, w) in -1..1."""
    return torch.from_numpy(np.stack([np.asarray(p) for p in pictures])).permute(0, 3, 1, 2).float() / 127.5 - 1


def load_vae(path: str) -> VAE:
    vae = VAE()
    vae.load_state_dict(torch.load(path))
    return vae.eval().requires_grad_(False).to(memory_format=torch.channels_last)


@torch.no_grad()
def latents(vae: VAE, x: torch.Tensor) -> torch.Tensor:
    """Whitened latents, by an encoder in bfloat16."""
    mean = vae.enc(x.bfloat16().contiguous(memory_format=torch.channels_last))[:, :4].float()
    return (mean - vae.mean[:, None, None]) / vae.std[:, None, None]


def build(vae: VAE, count: int, size: int, r: random.Random, style: drawings.Style = drawings.Style()) -> dict:
    """Latents and scenes; the encoder is left in bfloat16."""
    vae.enc.bfloat16()
    scenes, z = [], []
    for i in range(0, count, 20):
        batch = [drawings.sample(r) for _ in range(min(20, count - i))]
        z.append(latents(vae, to_tensor([drawings.draw(s, size, r, style) for s in batch])).half())
        scenes += batch
    return {"latents": torch.cat(z), "scenes": scenes}


class Prompts:
    """Features of prompts as the UNet reads them, in batches."""

    def __init__(self) -> None:
        self.encoder = text.Encoder()
        self.known: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def __call__(self, prompts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """(n, tokens, READ) and the attention bias (n, 1, 1, tokens)."""
        rows = []
        for p in prompts:
            if p not in self.known:
                if len(self.known) > 20000:
                    self.known.clear()
                self.known[p] = self.encoder(p)
            rows.append(self.known[p])
        length = max(len(c) for _, c in rows)
        features, bias = np.zeros((len(rows), length, text.READ), np.float32), np.full((len(rows), 1, 1, length), -1e9, np.float32)
        for i, (f, c) in enumerate(rows):
            features[i, : len(c)], bias[i, 0, 0, : len(c)] = f, np.log(c)
        return torch.from_numpy(features), torch.from_numpy(bias)


if __name__ == "__main__":
    torch.set_num_threads(1)
    vae_path, out, count, size, seed = sys.argv[1:]
    torch.save(build(load_vae(vae_path), int(count), int(size), random.Random(int(seed))), out)
