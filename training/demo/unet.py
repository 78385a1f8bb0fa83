"""SD1.5's UNet with 32 trained channels, for a file of width 64.

Left out, and stored as blocks that change nothing: the transformers of the outermost level, self
attention and feed-forward of the next, the second residual block and transformer of each level on
the way down, and the second of each level's three on the way up but for the 1x1 convolution that
SD1.5's skip connection needs there.
"""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional as F

import text
from norm import GroupNorm, LayerNorm, pointwise

SPREAD, GROUPS, HEADS = 2, 32, 8
MULTIPLES = (1, 2, 4, 4)


class Skip(nn.Module):
    """A residual block of which only the shortcut is left."""

    def __init__(self, inner: int, outer: int):
        super().__init__()
        self.skip = nn.Conv2d(inner, outer, 1)

    def forward(self, x: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        return pointwise(self.skip, x)


class Residual(nn.Module):
    def __init__(self, inner: int, outer: int, time: int):
        super().__init__()
        self.n1 = GroupNorm(inner, GROUPS, SPREAD, 1e-5)
        self.c1 = nn.Conv2d(inner, outer, 3, padding=1)
        self.emb = nn.Linear(time, outer)
        self.n2 = GroupNorm(outer, GROUPS, SPREAD, 1e-5)
        self.c2 = nn.Conv2d(outer, outer, 3, padding=1)
        nn.init.zeros_(self.c2.weight)
        nn.init.zeros_(self.c2.bias)
        self.skip = nn.Conv2d(inner, outer, 1) if inner != outer else None

    def forward(self, x: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        h = self.c1(self.n1(x)) + self.emb(time)[:, :, None, None]
        return (x if self.skip is None else pointwise(self.skip, x)) + self.c2(self.n2(h))


class Attention(nn.Module):
    def __init__(self, channels: int, context: int):
        super().__init__()
        self.q = nn.Linear(channels, channels, bias=False)
        self.k = nn.Linear(context, channels, bias=False)
        self.v = nn.Linear(context, channels, bias=False)
        self.o = nn.Linear(channels, channels)

    def forward(self, x: torch.Tensor, context: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        b, n, c = x.shape
        split = lambda t: t.view(b, -1, HEADS, c // HEADS).transpose(1, 2)
        # Written out: the fused kernel's backward pass is slow in bfloat16 on heads this small.
        scores = split(self.q(x)) @ split(self.k(context)).transpose(2, 3) * (c // HEADS) ** -0.5
        y = torch.softmax(scores if mask is None else scores + mask, -1) @ split(self.v(context))
        return self.o(y.transpose(1, 2).reshape(b, n, c))


class Transformer(nn.Module):
    """Cross attention, and with own also self attention and feed-forward."""

    def __init__(self, channels: int, own: bool):
        super().__init__()
        self.norm = GroupNorm(channels, GROUPS, SPREAD, 1e-6, silu=False)
        self.pin, self.pout = nn.Conv2d(channels, channels, 1), nn.Conv2d(channels, channels, 1)
        nn.init.zeros_(self.pout.weight)
        nn.init.zeros_(self.pout.bias)
        self.a1 = Attention(channels, channels) if own else None
        self.l1 = LayerNorm(channels) if own else None
        self.a2, self.l2 = Attention(channels, text.READ), LayerNorm(channels)
        self.l3 = LayerNorm(channels) if own else None
        self.f1, self.f2 = (nn.Linear(channels, 8 * channels), nn.Linear(4 * channels, channels)) if own else (None, None)

    def forward(self, x: torch.Tensor, context: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        b, c, height, width = x.shape
        h = pointwise(self.pin, self.norm(x)).permute(0, 2, 3, 1).reshape(b, height * width, c)
        if self.a1 is not None:
            y = self.l1(h)
            h = h + self.a1(y, y)
        h = h + self.a2(self.l2(h), context, mask)
        if self.f1 is not None:
            u, g = self.f1(self.l3(h)).chunk(2, -1)
            h = h + self.f2(u * F.gelu(g))
        return x + pointwise(self.pout, h.view(b, height, width, c).permute(0, 3, 1, 2))


class UNet(nn.Module):
    """Modules are named after the ldm blocks: i4r is input_blocks.4's residual block, o2u output_blocks.2's upsampler."""

    def __init__(self, width: int = 32):
        super().__init__()
        self.width, time = width, 4 * width
        self.t0, self.t2 = nn.Linear(2 * width, time), nn.Linear(time, time)
        self.cin = nn.Conv2d(4, width, 3, padding=1)
        self.m = nn.ModuleDict()
        self.down: list[list[str]] = []
        self.up: list[list[str]] = []
        skips, channels, n = [width], width, 0
        for level, multiple in enumerate(MULTIPLES):
            n += 1
            self.m[f"i{n}r"] = Residual(channels, multiple * width, time)
            channels = multiple * width
            self.down.append([f"i{n}r"])
            if 0 < level < 3:
                self.m[f"i{n}t"] = Transformer(channels, own=level > 1)
                self.down[-1].append(f"i{n}t")
            n += 1
            self.down.append([])
            skips += [channels, channels]
            if level < 3:
                n += 1
                self.m[f"i{n}d"] = nn.Conv2d(channels, channels, 3, stride=2, padding=1)
                self.down.append([f"i{n}d"])
                skips.append(channels)
        self.middle = ["m0r", "m1t", "m2r"]
        self.m["m0r"], self.m["m1t"], self.m["m2r"] = Residual(channels, channels, time), Transformer(channels, own=True), Residual(channels, channels, time)
        for n in range(12):
            level, inner, outer = 3 - n // 3, channels + skips.pop(), MULTIPLES[3 - n // 3] * width
            self.m[f"o{n}r"] = Skip(inner, outer) if n % 3 == 1 else Residual(inner, outer, time)
            channels = outer
            self.up.append([f"o{n}r"])
            if 0 < level < 3 and n % 3 != 1:
                self.m[f"o{n}t"] = Transformer(channels, own=level > 1)
                self.up[-1].append(f"o{n}t")
            if n % 3 == 2 and level > 0:
                self.m[f"o{n}u"] = nn.Conv2d(channels, channels, 3, padding=1)
                self.up[-1].append(f"o{n}u")
        self.nout = GroupNorm(width, GROUPS, SPREAD, 1e-5)
        self.cout = nn.Conv2d(width, 4, 3, padding=1)
        nn.init.zeros_(self.cout.weight)
        nn.init.zeros_(self.cout.bias)

    def time(self, t: torch.Tensor) -> torch.Tensor:
        f = torch.exp(-math.log(10000) * torch.arange(self.width) / self.width)
        a = t[:, None].float() * f
        return F.silu(self.t2(F.silu(self.t0(torch.cat([a.cos(), a.sin()], 1).to(self.t0.weight.dtype)))))

    def run(self, names: list[str], h: torch.Tensor, time: torch.Tensor, context: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        for name in names:
            module = self.m[name]
            match name[-1]:
                case "r":
                    h = module(h, time)
                case "t":
                    h = module(h, context, mask)
                case "d":
                    h = module(h)
                case "u":
                    h = module(F.interpolate(h, scale_factor=2.0, mode="nearest"))
        return h

    def forward(self, x: torch.Tensor, t: torch.Tensor, context: torch.Tensor, mask: torch.Tensor,
                control: list[torch.Tensor] | None = None) -> torch.Tensor:
        """The noise in x (b, 4, h, w) at steps t (b), for features context (b, n, READ) with attention bias mask
        (b, 1, 1, n), the logarithm of how often each token stands there. control: a ControlNet's 13 outputs."""
        time = self.time(t)
        h = self.cin(x)
        skips = [h]
        for names in self.down:
            h = self.run(names, h, time, context, mask)
            skips.append(h)
        h = self.run(self.middle, h, time, context, mask)
        if control is not None:
            h = h + control[-1]
            skips = [s + c for s, c in zip(skips, control)]
        for names in self.up:
            h = self.run(names, torch.cat([h, skips.pop()], 1), time, context, mask)
        return self.cout(self.nout(h))
