"""SD1.5's VAE with few trained channels: 16 in an encoder of width 128, 32 in a decoder of width 96.

The trained part has one residual block a level and no attention; the stored rest changes nothing.
The spare channels of each norm's groups are constants (see norm.py): a group of the encoder holds
one trained channel, +1, -1 and 0, one of the decoder one trained channel, +1 and -1.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from norm import GroupNorm, pointwise

ENERGY = {3: 2 / 3, 4: 1 / 2}  # Mean square of the constants in a group of so many.
# Colour to the first three latents, up to whitening: brightness and two differences of colours.
MIX = torch.tensor([[0.58, 0.58, 0.58], [0.9, -0.1, -0.8], [-0.6, 1.2, -0.6]]) * 1.1


class Residual(nn.Module):
    def __init__(self, inner: int, outer: int, groups: int, spread: int):
        super().__init__()
        self.norm1 = GroupNorm(inner, groups, spread, 1e-6, ENERGY[spread])
        self.conv1 = nn.Conv2d(inner, outer, 3, padding=1)
        self.norm2 = GroupNorm(outer, groups, spread, 1e-6, ENERGY[spread])
        self.conv2 = nn.Conv2d(outer, outer, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(self.conv2.bias)
        self.nin_shortcut = nn.Conv2d(inner, outer, 1) if inner != outer else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.conv2(self.norm2(self.conv1(self.norm1(x))))
        return (x if self.nin_shortcut is None else pointwise(self.nin_shortcut, x)) + h


class Encoder(nn.Module):
    """Pictures (b, 3, h, w) in -1..1 to mean and log variance (b, 8, h/8, w/8)."""

    def __init__(self, width: int = 16, spread: int = 4):
        super().__init__()
        w, block = width, lambda i, o: Residual(i, o, width, spread)
        self.conv_in = nn.Conv2d(3, w, 3, padding=1)
        self.res = nn.ModuleDict({"1": block(w, 2 * w), "2": block(2 * w, 4 * w), "3": block(4 * w, 4 * w), "mid": block(4 * w, 4 * w)})
        self.down = nn.ModuleList([nn.Conv2d(c, c, 3, stride=2) for c in (w, 2 * w, 4 * w)])
        self.norm_out = GroupNorm(4 * w, w, spread, 1e-6, ENERGY[spread])
        self.conv_out = nn.Conv2d(4 * w, 8, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.conv_in(x)
        for i in range(3):
            if i:
                h = self.res[str(i)](h)
            h = self.down[i](F.pad(h, (0, 1, 0, 1)))
        h = self.res["mid"](self.res["3"](h))
        return self.conv_out(self.norm_out(h))


class Decoder(nn.Module):
    """Latents (b, 4, h, w) to pictures (b, 3, 8h, 8w)."""

    def __init__(self, width: int = 32, spread: int = 3):
        super().__init__()
        w, block = width, lambda i, o: Residual(i, o, width, spread)
        self.conv_in = nn.Conv2d(4, 4 * w, 3, padding=1)
        self.res = nn.ModuleDict({"mid": block(4 * w, 4 * w), "3": block(4 * w, 4 * w), "2": block(4 * w, 4 * w), "1": block(4 * w, 2 * w), "0": block(2 * w, w)})
        self.up = nn.ModuleDict({"3": nn.Conv2d(4 * w, 4 * w, 3, padding=1), "2": nn.Conv2d(4 * w, 4 * w, 3, padding=1), "1": nn.Conv2d(2 * w, 2 * w, 3, padding=1)})
        self.norm_out = GroupNorm(w, w, spread, 1e-6, ENERGY[spread])
        self.conv_out = nn.Conv2d(w, 3, 3, padding=1)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        h = self.res["mid"](self.conv_in(z))
        for i in (3, 2, 1, 0):
            h = self.res[str(i)](h)
            if i:
                h = self.up[str(i)](F.interpolate(h, scale_factor=2.0, mode="nearest"))
        return self.conv_out(self.norm_out(h))


class VAE(nn.Module):
    """mean and std whiten the latents: the UNet works on (z - mean) / std, channel by channel."""

    def __init__(self) -> None:
        super().__init__()
        self.enc, self.dec = Encoder(), Decoder()
        self.register_buffer("mean", torch.zeros(4))
        self.register_buffer("std", torch.ones(4))
        self.start()

    @torch.no_grad()
    def start(self) -> None:
        """Average pooling and nearest enlargement of the colour, a good start for what follows."""

        def copy(conv: nn.Conv2d, taps: list[tuple[int, int]], n: int = 6) -> None:
            conv.weight[:n] = 0
            conv.bias[:n] = 0
            for i in range(n):
                for y, x in taps:
                    conv.weight[i, i, y, x] = 1 / len(taps)

        e, d = self.enc, self.dec
        e.conv_in.weight[:6] = 0
        e.conv_in.bias[:6] = 0
        e.conv_in.weight[:3, :, 1, 1], e.conv_in.weight[3:6, :, 1, 1] = MIX, -MIX
        for conv in e.down:
            copy(conv, [(0, 0), (0, 1), (1, 0), (1, 1)])
        for block in (e.res["1"], e.res["2"], d.res["1"], d.res["0"]):
            copy(block.nin_shortcut, [(0, 0)])
        e.conv_out.weight[:3] = 0
        e.conv_out.weight[4:] *= 0.1
        e.conv_out.bias[:4] = 0
        e.conv_out.bias[4:] = -6
        d.conv_in.weight[:6] = 0
        d.conv_in.bias[:6] = 0
        for i in range(3):
            e.conv_out.weight[i, i, 1, 1], e.conv_out.weight[i, 3 + i, 1, 1] = 0.85, -0.85
            d.conv_in.weight[i, i, 1, 1], d.conv_in.weight[3 + i, i, 1, 1] = 1, -1
        for conv in d.up.values():
            copy(conv, [(1, 1)])
        inverse = torch.linalg.inv(MIX)
        d.conv_out.weight.zero_()
        d.conv_out.bias.zero_()
        d.conv_out.weight[:, :3, 1, 1], d.conv_out.weight[:, 3:6, 1, 1] = inverse, -inverse

    def encode(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and log variance, not whitened."""
        mean, log = self.enc(x).chunk(2, 1)
        return mean, log.clamp(-20, 5)

    def latents(self, x: torch.Tensor) -> torch.Tensor:
        return (self.encode(x)[0] - self.mean[:, None, None]) / self.std[:, None, None]

    def pictures(self, z: torch.Tensor) -> torch.Tensor:
        return self.dec(z * self.std[:, None, None] + self.mean[:, None, None])
