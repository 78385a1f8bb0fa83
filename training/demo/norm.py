"""Norms of nets that are narrower than the file that they are stored in.

SD1.5's GroupNorm has 32 groups. On 32 channels that is one norm a channel, which wipes out each
channel's mean, and with it flat colour and the time embedding. So the file is wider than the
trained net and the spare channels of every group are constants: zeros in the UNet, +1 and -1 in
the VAE. These modules compute on the trained channels alone what the wide norm computes there.
"""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path
from types import ModuleType

import torch
from torch import nn
from torch.utils import cpp_extension


def _load() -> ModuleType:
    """norm.cpp, compiled once into a folder named after its content."""
    source = Path(__file__).with_name("norm.cpp")
    folder = Path(__file__).with_name("build") / hashlib.sha256(source.read_bytes()).hexdigest()[:12]
    built = folder / "demo_norm.so"
    if not built.exists():
        folder.mkdir(parents=True, exist_ok=True)
        flags = ["-O3", "-march=native", "-ffast-math", "-fopenmp-simd"]
        return cpp_extension.load("demo_norm", [str(source)], extra_cflags=flags, build_directory=str(folder))
    spec = importlib.util.spec_from_file_location("demo_norm", built)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_native = _load()


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, rows, weight, bias, groups, spread, eps, silu):
        w, b = weight.float().contiguous(), bias.float().contiguous()
        y, mean, scale = _native.forward(rows, w, b, groups, spread, eps, silu)
        ctx.save_for_backward(rows, w, b, mean, scale)
        ctx.spread, ctx.silu, ctx.dtype = spread, silu, weight.dtype
        return y

    @staticmethod
    def backward(ctx, g):
        rows, w, b, mean, scale = ctx.saved_tensors
        gx, gw, gb = _native.backward(g.contiguous(), rows, w, b, mean, scale, ctx.spread, ctx.silu)
        return gx, gw.to(ctx.dtype), gb.to(ctx.dtype), None, None, None, None


class GroupNorm(nn.Module):
    """groups of channels/groups trained channels among spread times as many, the constants' energy added to eps; then SiLU."""

    def __init__(self, channels: int, groups: int, spread: int, eps: float, energy: float = 0.0, silu: bool = True):
        super().__init__()
        self.groups, self.spread, self.eps, self.silu = groups, spread, eps + energy, silu
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, c, h, w = x.shape
        rows = x.permute(0, 2, 3, 1).contiguous().view(b, h * w, c)
        return _Norm.apply(rows, self.weight, self.bias, self.groups, self.spread, self.eps, self.silu).view(b, h, w, c).permute(0, 3, 1, 2)


class LayerNorm(nn.Module):
    """Over (b, n, channels), the trained half of the channels, the others being zero."""

    def __init__(self, channels: int, spread: int = 2, eps: float = 1e-5):
        super().__init__()
        self.spread, self.eps = spread, eps
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, n, c = x.shape
        return _Norm.apply(x.reshape(b * n, 1, c), self.weight, self.bias, 1, self.spread, self.eps, False).view(b, n, c)


def pointwise(conv: nn.Conv2d, x: torch.Tensor) -> torch.Tensor:
    """A 1x1 convolution as a matrix product, which is quicker on channels-last data."""
    weight = conv.weight.flatten(1)
    return nn.functional.linear(x.permute(0, 2, 3, 1), weight, conv.bias).permute(0, 3, 1, 2)
