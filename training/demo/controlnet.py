"""SD1.5's ControlNet beside the UNet of unet.py: a copy of its way down that also sees a hint."""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.nn import functional as F

from norm import pointwise
from unet import UNet

# Trained widths of the hint's convolutions; the file has SD1.5's 16, 16, 32, 32, 96, 96, 256.
HINT = (8, 8, 16, 16, 32, 32, 64)


class ControlNet(nn.Module):
    def __init__(self, unet: UNet):
        super().__init__()
        self.net = copy.deepcopy(unet)  # Of which only the way down is used and trained.
        for name in [n for n in self.net.m if n[0] == "o"]:
            del self.net.m[name]
        self.net.nout, self.net.cout = None, None
        widths = (3, *HINT, unet.width)
        self.hint = nn.ModuleList([nn.Conv2d(i, o, 3, padding=1, stride=2 if k in (2, 4, 6) else 1) for k, (i, o) in enumerate(zip(widths, widths[1:]))])
        nn.init.zeros_(self.hint[-1].weight)
        nn.init.zeros_(self.hint[-1].bias)
        w = unet.width
        self.zero = nn.ModuleList([nn.Conv2d(c, c, 1) for c in (w, w, w, w, 2 * w, 2 * w, 2 * w, 4 * w, 4 * w, 4 * w, 4 * w, 4 * w, 4 * w)])
        for conv in self.zero:
            nn.init.zeros_(conv.weight)
            nn.init.zeros_(conv.bias)

    def forward(self, x: torch.Tensor, hint: torch.Tensor, t: torch.Tensor, context: torch.Tensor, mask: torch.Tensor) -> list[torch.Tensor]:
        """The 13 outputs for noisy latents x and a hint (b, 3, 8h, 8w) in 0..1."""
        for i, conv in enumerate(self.hint):
            hint = conv(hint)
            if i < len(self.hint) - 1:
                hint = F.silu(hint)
        time = self.net.time(t)
        h = self.net.cin(x) + hint
        outputs = [h]
        for names in self.net.down:
            h = self.net.run(names, h, time, context, mask)
            outputs.append(h)
        outputs.append(self.net.run(self.net.middle, h, time, context, mask))
        return [pointwise(z, o) for z, o in zip(self.zero, outputs)]
