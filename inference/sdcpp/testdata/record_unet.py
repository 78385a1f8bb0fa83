"""Writes unet.json and the hypernetworks in formats/hypernet/testdata: what acts inside of the UNet, computed by diffusers on a tiny synthetic checkpoint.

    pip install diffusers torch transformers accelerate
    worker models synth tiny.safetensors
    python record_unet.py tiny.safetensors

FreeU is that of its authors (github.com/ChenyangSi/FreeU): stages are told by the number of channels, 4 or 2 times the
width; diffusers tells them by the number of the block, which is something else. Perturbed attention: Ahn et al. 2024, in
the middle block. Hypernetworks: modules/hypernetworks/hypernetwork.py of A1111's web UI.
"""

import base64
import json
import os
import sys

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import UNet2DConditionModel
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint
from diffusers.models.unets import unet_2d_blocks
from safetensors.torch import load_file

torch.manual_seed(5)
here = os.path.dirname(os.path.abspath(__file__))
WIDTH = 32
unet = UNet2DConditionModel(
    sample_size=64, block_out_channels=(WIDTH, 2 * WIDTH, 4 * WIDTH, 4 * WIDTH), cross_attention_dim=768, attention_head_dim=8,
    down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",), up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3)
state = convert_ldm_unet_checkpoint({k: v.float() for k, v in load_file(sys.argv[1]).items()}, config=unet.config)
unet.load_state_dict(state)
unet.eval()


def text(x):
    return base64.b64encode(x.detach().numpy().astype(np.float32).tobytes()).decode()


def low_frequencies(x, scale):
    freq = torch.fft.fftshift(torch.fft.fftn(x, dim=(-2, -1)), dim=(-2, -1))
    h, w = x.shape[-2] // 2, x.shape[-1] // 2
    mask = torch.ones_like(x)
    mask[..., max(h - 1, 0):h + 1, max(w - 1, 0):w + 1] = scale
    return torch.fft.ifftn(torch.fft.ifftshift(freq * mask, dim=(-2, -1)), dim=(-2, -1)).real


freeu = None  # version, b1, b2, s1, s2
staged = None  # version and what StageInfo of github.com/ljleb/sd-webui-freeu has, for each stage


def region(width, offset, n):
    """The channels of a window that wraps around: first, last, and whether they are left out."""
    assert 0 <= offset <= 1 and 0 <= width <= 1
    offset %= 1
    inverted = width + offset > 1
    first, last = (width + offset - 1, offset) if inverted else (offset, width + offset)
    return round(first * n), round(last * n), inverted


def apply_staged(h, skip):
    version, stages = staged
    backbone, low, offset, width, cutoff, high = stages[{4 * WIDTH: 0, 2 * WIDTH: 1, WIDTH: 2}[h.shape[1]]]
    first, last, inverted = region(width, offset, h.shape[1])
    channel = torch.arange(h.shape[1])
    inside = ((first <= channel) & (channel <= last)) != inverted
    factor = backbone
    if version == 2:
        mean = h.mean(1, keepdim=True)
        lowest, highest = mean.amin((2, 3), keepdim=True), mean.amax((2, 3), keepdim=True)
        factor = (backbone - 1) * (mean - lowest) / (highest - lowest) + 1
    h = torch.where(inside.reshape(1, -1, 1, 1), h * factor, h)
    freq = torch.fft.fftshift(torch.fft.fftn(skip, dim=(-2, -1)), dim=(-2, -1))
    y, x = skip.shape[-2] // 2, skip.shape[-1] // 2
    ty, tx = max(1, int(y * cutoff)), max(1, int(x * cutoff))
    mask = torch.full_like(skip, high)
    mask[..., max(y - ty, 0):y + ty, max(x - tx, 0):x + tx] = low
    return h, torch.fft.ifftn(torch.fft.ifftshift(freq * mask, dim=(-2, -1)), dim=(-2, -1)).real


def apply_freeu(_, h, skip, **__):
    if staged is not None:
        return apply_staged(h, skip)
    stage = {4 * WIDTH: 0, 2 * WIDTH: 1}.get(h.shape[1])
    if freeu is None or stage is None:
        return h, skip
    version, b, s = freeu[0], freeu[1 + stage], freeu[3 + stage]
    half = h.shape[1] // 2
    h = h.clone()
    if version == 1:
        h[:, :half] *= b
    else:
        mean = h.mean(1, keepdim=True)
        low, high = mean.amin((2, 3), keepdim=True), mean.amax((2, 3), keepdim=True)
        h[:, :half] *= (b - 1) * (mean - low) / (high - low) + 1
    return h, low_frequencies(skip, s)


unet.enable_freeu(s1=1, s2=1, b1=1, b2=1)
unet_2d_blocks.apply_freeu = apply_freeu


class Attention:
    """Plain attention, with what acts on it."""

    def __init__(self, name):
        self.name = name

    def __call__(self, attn, x, encoder_hidden_states=None, attention_mask=None, **_):
        context = x if encoder_hidden_states is None else encoder_hidden_states
        k, v = context, context
        for layers, strength in hypernets:
            if context.shape[2] in layers:
                k = k + layers[context.shape[2]][0](k) * strength
                v = v + layers[context.shape[2]][1](v) * strength
        q, k, v = attn.to_q(x), attn.to_k(k), attn.to_v(v)
        heads = lambda t: t.unflatten(2, (attn.heads, -1)).transpose(1, 2)
        out = F.scaled_dot_product_attention(heads(q), heads(k), heads(v)).transpose(1, 2).flatten(2)
        if perturbed is not None and self.name.startswith("mid_block") and "attn1" in self.name:
            out = torch.where(perturbed[:, None, None] > 0, v, out)
        return attn.to_out[0](out)


unet.set_attn_processor({name: Attention(name) for name in unet.attn_processors})
hypernets, perturbed = [], None


def hypernetwork(sizes, structure, activation, norm, activate_output, dropout):
    """A hypernetwork as the web UI builds it, with random weights, and its file."""
    made = {}
    for size in sizes:
        pair = []
        for _ in range(2):
            layers = []
            for i in range(len(structure) - 1):
                layers.append(torch.nn.Linear(int(size * structure[i]), int(size * structure[i + 1])))
                if activation and (i < len(structure) - 2 or activate_output):
                    layers.append({"leakyrelu": torch.nn.LeakyReLU, "swish": torch.nn.Hardswish}[activation]())
                if norm:
                    layers.append(torch.nn.LayerNorm(int(size * structure[i + 1])))
                    torch.nn.init.normal_(layers[-1].weight, 1, 0.2)
                    torch.nn.init.normal_(layers[-1].bias, 0, 0.2)
                if dropout[i + 1]:
                    layers.append(torch.nn.Dropout(dropout[i + 1]))
            pair.append(torch.nn.Sequential(*layers).eval())
        made[size] = pair
    return made


structures = {
    "hypernet.pt": dict(sizes=(768, 4 * WIDTH), structure=[1, 1 / 64, 1 / 64, 1], activation="leakyrelu", norm=True, activate_output=True, dropout=[0, 0.3, 0, 0]),
    "hypernet-plain.pt": dict(sizes=(768,), structure=[1, 1 / 96, 1], activation="swish", norm=False, activate_output=False, dropout=[0, 0, 0]),
}
loaded = {}
for name, kind in structures.items():
    made = loaded[name] = hypernetwork(**kind)
    file = {size: tuple({"linear." + k: v for k, v in m.state_dict().items()} for m in pair) for size, pair in made.items()}
    file |= {"step": 100, "name": name[:-3], "layer_structure": kind["structure"], "activation_func": kind["activation"], "is_layer_norm": kind["norm"],
             "weight_initialization": "Normal", "sd_checkpoint": None, "sd_checkpoint_name": None, "activate_output": kind["activate_output"],
             "use_dropout": any(kind["dropout"]), "dropout_structure": kind["dropout"], "last_layer_dropout": False, "optional_info": None}
    torch.save(file, os.path.join(here, "../../../formats/hypernet/testdata", name))

# Sizes are multiples of 8: diffusers treats others unlike the original code.
cases = []
for name, size, settings in [
        ("plain", (8, 8), {}),
        ("freeu 1", (16, 24), {"freeu": (1, 1.5, 1.6, 0.9, 0.2)}),
        ("freeu 2", (16, 24), {"freeu": (2, 1.5, 1.6, 0.9, 0.2)}),
        ("freeu 2, narrow", (8, 24), {"freeu": (2, 1.01, 0.7, 2.5, 0.0)}),
        ("stages 1", (16, 24), {"staged": (1, [(1.5, 0.5, 0.25, 0.5, 0.5, 1.2), (0.7, 0.2, 0.75, 0.5, 0.3, 0.9), (1.2, 0.5, 0.0, 0.25, 1.0, 2.0)])}),
        ("stages 2", (16, 8), {"staged": (2, [(1.0, 1.0, 0.0, 0.5, 0.0, 1.3), (1.4, 1.0, 0.4, 1.0, 0.0, 1.0), (1.6, 0.3, 0.9, 0.2, 0.26, 1.0)])}),
        ("perturbed", (8, 16), {"perturbed": [0.0, 1.0, 0.0]}),
        ("hypernetwork", (8, 8), {"hypernets": [("hypernet.pt", 0.7)]}),
        ("hypernetworks", (8, 16), {"hypernets": [("hypernet.pt", -0.5), ("hypernet-plain.pt", 1.3)]}),
        ("all", (16, 16), {"freeu": (2, 1.2, 1.4, 0.9, 0.2), "perturbed": [1.0, 0.0, 1.0], "hypernets": [("hypernet-plain.pt", 1.0)]})]:
    h, w = size
    x, t = torch.randn(3, 4, h, w), torch.tensor([981.0, 40.0, 500.0])
    i = torch.arange(3 * 77 * 768, dtype=torch.float64)
    context = (torch.sin(i * 0.37) + torch.cos(i * i * 1e-5)).float().reshape(3, 77, 768)
    freeu, staged = settings.get("freeu"), settings.get("staged")
    perturbed = torch.tensor(settings["perturbed"]) if "perturbed" in settings else None
    hypernets = [(loaded[file], strength) for file, strength in settings.get("hypernets", [])]
    with torch.no_grad():
        out = unet(x, t, context).sample
    cases.append({"name": name, "h": h, "w": w, "latent": text(x), "timestep": t.tolist(), "want": text(out), **{k: v for k, v in settings.items()}})
with open(os.path.join(here, "unet.json"), "w") as f:
    json.dump({"about": "UNet of `worker models synth` (tiny, seed 0) by diffusers; value i of the context is sin(0.37 i) + cos(i i / 100000)", "cases": cases}, f)
