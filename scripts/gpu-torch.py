"""PyTorch's speed on the same GPU, to compare worker bench with: the UNet of Stable
Diffusion 1.5 with random weights, float16, channels last, eager. Not part of the
worker. A step is one call with the conditional and the unconditional half."""

import argparse
import math
import time

import torch
import torch.nn.functional as F
from torch import nn


class ResBlock(nn.Module):
    def __init__(self, cin, cout):
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(32, cin), nn.Conv2d(cin, cout, 3, padding=1)
        self.emb = nn.Linear(1280, cout)
        self.norm2, self.conv2 = nn.GroupNorm(32, cout), nn.Conv2d(cout, cout, 3, padding=1)
        self.skip = nn.Conv2d(cin, cout, 1) if cin != cout else nn.Identity()

    def forward(self, x, emb, _):
        h = self.conv1(F.silu(self.norm1(x))) + self.emb(F.silu(emb))[:, :, None, None]
        return self.skip(x) + self.conv2(F.silu(self.norm2(h)))


class Attention(nn.Module):
    def __init__(self, width, context, heads=8):
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v = (nn.Linear(w, width, bias=False) for w in (width, context, context))
        self.out = nn.Linear(width, width)

    def forward(self, x, context):
        q, k, v = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in (self.q(x), self.k(context), self.v(context)))
        return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Transformer(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm = nn.GroupNorm(32, width, eps=1e-6)
        self.proj_in, self.proj_out = nn.Conv2d(width, width, 1), nn.Conv2d(width, width, 1)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.own, self.cross = Attention(width, width), Attention(width, 768)
        self.up, self.down = nn.Linear(width, 8 * width), nn.Linear(4 * width, width)

    def forward(self, x, _, context):
        h = self.proj_in(self.norm(x)).flatten(2).transpose(1, 2)
        n = self.norms[0](h)
        h = h + self.own(n, n)
        h = h + self.cross(self.norms[1](h), context)
        a, gate = self.up(self.norms[2](h)).chunk(2, -1)
        h = h + self.down(a * F.gelu(gate))
        return x + self.proj_out(h.transpose(1, 2).unflatten(2, x.shape[2:]))


class Resample(nn.Module):
    def __init__(self, width, up):
        super().__init__()
        self.up = up
        self.conv = nn.Conv2d(width, width, 3, stride=1 if up else 2, padding=1)

    def forward(self, x, *_):
        return self.conv(F.interpolate(x, scale_factor=2.0) if self.up else x)


class UNet(nn.Module):
    """859520964 weights, as in Stable Diffusion 1.5."""

    def __init__(self):
        super().__init__()
        widths, attention = (320, 640, 1280, 1280), (True, True, True, False)
        self.time = nn.Sequential(nn.Linear(320, 1280), nn.SiLU(), nn.Linear(1280, 1280))
        self.first = nn.Conv2d(4, 320, 3, padding=1)
        self.down, self.up, skips, width = nn.ModuleList(), nn.ModuleList(), [320], 320
        for level, out in enumerate(widths):
            for _ in range(2):
                self.down.append(nn.ModuleList([ResBlock(width, out)] + [Transformer(out)] * attention[level]))
                width = out
                skips.append(width)
            if level < 3:
                self.down.append(nn.ModuleList([Resample(width, False)]))
                skips.append(width)
        self.middle = nn.ModuleList([ResBlock(1280, 1280), Transformer(1280), ResBlock(1280, 1280)])
        for level in (3, 2, 1, 0):
            for i in range(3):
                block = [ResBlock(width + skips.pop(), widths[level])] + [Transformer(widths[level])] * attention[level]
                width = widths[level]
                if i == 2 and level > 0:
                    block.append(Resample(width, True))
                self.up.append(nn.ModuleList(block))
        self.norm, self.last = nn.GroupNorm(32, 320), nn.Conv2d(320, 4, 3, padding=1)

    def forward(self, x, timestep, context):
        f = torch.exp(-math.log(10000) * torch.arange(160, device=x.device) / 160)
        angle = timestep[:, None].float() * f
        emb = self.time(torch.cat([angle.cos(), angle.sin()], -1).to(x.dtype))
        h = self.first(x)
        skips = [h]
        for block in self.down:
            for part in block:
                h = part(h, emb, context)
            skips.append(h)
        for part in self.middle:
            h = part(h, emb, context)
        for block in self.up:
            h = torch.cat([h, skips.pop()], 1)
            for part in block:
                h = part(h, emb, context)
        return self.last(F.silu(self.norm(h)))


@torch.inference_mode()
def measure(net, rows, cells, device, dtype, runs):
    x = torch.randn(rows, 4, cells, cells, device=device, dtype=dtype).to(memory_format=torch.channels_last)
    timestep = torch.full((rows,), 500, device=device)
    context = torch.randn(rows, 77, 768, device=device, dtype=dtype)
    times = []
    for _ in range(runs + 3):
        begin = time.perf_counter()
        net(x, timestep, context)
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - begin)
    return sorted(times[3:])[runs // 2]


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--device", default="cuda")
    p.add_argument("--side", type=int, default=512)
    p.add_argument("--runs", type=int, default=20)
    p.add_argument("--batches", type=int, nargs="+", default=[1, 4, 8])
    a = p.parse_args()
    dtype = torch.float16 if a.device == "cuda" else torch.float32
    with torch.device(a.device):
        net = UNet().to(dtype).to(memory_format=torch.channels_last).eval()
    assert sum(w.numel() for w in net.parameters()) == 859520964
    torch.backends.cudnn.benchmark = True
    print("torch", torch.__version__, torch.cuda.get_device_name() if a.device == "cuda" else "cpu", dtype)
    for batch in a.batches:
        s = measure(net, 2 * batch, a.side // 8, a.device, dtype, a.runs)
        print(f"batch {batch}: CFG step {1000 * s:.2f} ms, {1 / s:.2f} it/s, {batch / s:.2f} image steps/s")


main()
