"""sample.py UNET.pt VAE.pt OUT.png [PROMPT ...]: draws prompts with Euler a, 20 steps, CFG 7, in batches."""

from __future__ import annotations

import argparse
import copy

import torch
from PIL import Image

from dataset import Prompts, load_vae
from sheet import sheet
from storage import pack, unpack
from train_unet import ALPHA
from unet import UNet
from vae import VAE

SIGMA = ((1 - ALPHA) / ALPHA).sqrt()
PROMPTS = [
    "a red fox in the snow", "a white cat on a blue background", "a yellow house at night", "a green tree in the desert", "a blue car by the sea", "a pink flower in a meadow",
    "a lovely cat", "a dog", "a black dog in a meadow", "a purple bird", "a fish", "red fish, snow", "a boat by the sea", "a red mushroom and a yellow star",
    "a red house and a white cat", "a brown dog and a green car in the snow", "a black cat at night", "an orange bird on a pink background", "a yellow star at night",
    "a blue mushroom in a meadow", "a cat and a dog", "a green fox", "<robot> in the desert", "a red <robot> and a tree",
]


class Model:
    def __init__(self, unet: UNet, vae: VAE):
        self.unet = copy.deepcopy(unet).bfloat16().to(memory_format=torch.channels_last)
        self.vae, self.decoder = vae, copy.deepcopy(vae.dec).bfloat16().to(memory_format=torch.channels_last)
        self.prompts = Prompts()

    @torch.no_grad()
    def __call__(self, prompts: list[str], size: int = 256, steps: int = 20, cfg: float = 7.0, seed: int = 1, ancestral: bool = True,
                 control: torch.Tensor | None = None, controlnet=None) -> list[Image.Image]:
        g, n = torch.Generator().manual_seed(seed), len(prompts)
        context, mask = self.prompts(prompts + [""] * n)
        context, mask = context.bfloat16(), mask.bfloat16()
        times = torch.linspace(999, 0, steps)
        low = times.floor().long()
        sigmas = torch.exp(torch.lerp(SIGMA[low].log(), SIGMA[(low + 1).clamp(max=999)].log(), times - low))
        sigmas = torch.cat([sigmas, torch.zeros(1)])
        z = torch.randn(n, 4, size // 8, size // 8, generator=g) * (1 + sigmas[0] ** 2).sqrt()
        for i in range(steps):
            x = (z / (sigmas[i] ** 2 + 1).sqrt()).repeat(2, 1, 1, 1).bfloat16().contiguous(memory_format=torch.channels_last)
            t = times[i].expand(2 * n)
            hints = None if controlnet is None else controlnet(x, control.repeat(2, 1, 1, 1), t, context, mask)
            with_, without = self.unet(x, t, context, mask, hints).float().chunk(2)
            noise = without + cfg * (with_ - without)
            up = (sigmas[i + 1] ** 2 * (sigmas[i] ** 2 - sigmas[i + 1] ** 2) / sigmas[i] ** 2).sqrt() if ancestral else torch.zeros(())
            down = (sigmas[i + 1] ** 2 - up**2).sqrt()
            z = z + noise * (down - sigmas[i]) + up * torch.randn(z.shape, generator=g)
        return self.pictures(z)

    @torch.no_grad()
    def pictures(self, z: torch.Tensor) -> list[Image.Image]:
        """Pictures of whitened latents."""
        out = []
        for part in z.split(8):
            y = self.decoder((part * self.vae.std[:, None, None] + self.vae.mean[:, None, None]).bfloat16()).float()
            out += [Image.fromarray(v) for v in ((y.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()]
        return out


def load(unet: str, vae: str, stored: bool = False) -> Model:
    """stored: with weights rounded as they are in the files under models/demo."""
    net, autoencoder = UNet(), load_vae(vae)
    net.load_state_dict(torch.load(unet)["mean"])
    for part in (net, autoencoder.dec) if stored else ():
        part.load_state_dict(unpack(pack(part.state_dict())))
    return Model(net.eval(), autoencoder)


def main() -> None:
    p = argparse.ArgumentParser()
    p.add_argument("unet")
    p.add_argument("vae")
    p.add_argument("out")
    p.add_argument("prompts", nargs="*", default=PROMPTS)
    p.add_argument("--size", type=int, default=256)
    p.add_argument("--cfg", type=float, default=7)
    p.add_argument("--seed", type=int, default=1)
    a = p.parse_args()
    torch.set_num_threads(1)
    pictures = []
    model = load(a.unet, a.vae)
    for i in range(0, len(a.prompts), 8):
        pictures += model(a.prompts[i : i + 8], a.size, cfg=a.cfg, seed=a.seed + i)
    sheet([p.resize((160, 160), Image.Resampling.LANCZOS) if a.size > 160 else p for p in pictures], 8).save(a.out)


if __name__ == "__main__":
    main()
