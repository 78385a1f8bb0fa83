"""Writes ipadapter.json: what tiny synthetic IP-Adapters do, computed by transformers and diffusers.

    pip install diffusers torch transformers accelerate
    for kind in checkpoint image-encoder ip-adapter ip-adapter-plus; do worker models synth --kind $kind folder/$kind.safetensors; done
    python record_ipadapter.py folder

A picture without the adapter's effect is that of no embedding (ip-adapter) or of pixels that are 0 (ip-adapter-plus).
"""

import base64
import json
import os
import sys

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint
from safetensors.torch import load_file
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

torch.manual_seed(7)
here = os.path.dirname(os.path.abspath(__file__))
load = lambda kind: {k: v.float() for k, v in load_file(os.path.join(sys.argv[1], kind + ".safetensors")).items()}


def text(x):
    return base64.b64encode(x.detach().numpy().astype(np.float32).tobytes()).decode()


def waves(n):
    i = torch.arange(n, dtype=torch.float64)
    return (torch.sin(i * 0.37) + torch.cos(i * i * 1e-5)).float()


encoder = CLIPVisionModelWithProjection(CLIPVisionConfig(
    hidden_size=128, intermediate_size=256, num_hidden_layers=3, num_attention_heads=16, projection_dim=64, hidden_act="gelu", patch_size=14, image_size=224))
left = encoder.load_state_dict(load("image-encoder"), strict=False)
assert not left.unexpected_keys and all("position_ids" in k for k in left.missing_keys), left
encoder.eval()
with torch.no_grad():
    seen = encoder(waves(3 * 224 * 224).reshape(1, 3, 224, 224), output_hidden_states=True)
    zero = encoder(torch.zeros(1, 3, 224, 224), output_hidden_states=True)

WIDTH = 32


def unet_with(kinds):
    unet = UNet2DConditionModel(
        sample_size=64, block_out_channels=(WIDTH, 2 * WIDTH, 4 * WIDTH, 4 * WIDTH), cross_attention_dim=768, attention_head_dim=8,
        down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",), up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3)
    unet.load_state_dict(convert_ldm_unet_checkpoint(load("checkpoint"), config=unet.config))
    files = []
    for kind in kinds:
        file = {"image_proj": {}, "ip_adapter": {}}
        for name, value in load(kind).items():
            part, rest = name.split(".", 1)
            file[part][rest] = value
        files.append(file)
    unet._load_ip_adapter_weights(files, low_cpu_mem_usage=False)
    return unet.eval()


embeds = {"ip-adapter": (seen.image_embeds, torch.zeros_like(seen.image_embeds)), "ip-adapter-plus": (seen.hidden_states[-2], zero.hidden_states[-2])}
projections = {}
for kind, (cond, uncond) in embeds.items():
    layer = unet_with([kind]).encoder_hid_proj.image_projection_layers[0]
    with torch.no_grad():
        projections[kind] = [text(layer(x)) for x in (cond, uncond)]

cases = []
shown = [True, False, True]
for name, h, w, units in [
        ("base", 8, 8, [("ip-adapter", 1.0)]), ("base, half", 8, 16, [("ip-adapter", 0.5)]),
        ("plus", 8, 8, [("ip-adapter-plus", 1.0)]), ("plus, half", 16, 8, [("ip-adapter-plus", 0.5)]),
        ("both", 8, 8, [("ip-adapter", 0.7), ("ip-adapter-plus", 0.4)])]:
    unet = unet_with([kind for kind, _ in units])
    for processor in unet.attn_processors.values():
        if hasattr(processor, "scale"):
            processor.scale = [weight for _, weight in units]
    x, t = torch.randn(3, 4, h, w), torch.tensor([981.0, 40.0, 500.0])
    pictures = []
    for kind, _ in units:
        rows = torch.cat([embeds[kind][0 if on else 1] for on in shown])
        pictures.append(rows[:, None])  # one picture in each row
    with torch.no_grad():
        out = unet(x, t, waves(3 * 77 * 768).reshape(3, 77, 768), added_cond_kwargs={"image_embeds": pictures}).sample
    cases.append({"name": name, "h": h, "w": w, "latent": text(x), "timestep": t.tolist(), "units": units, "shown": shown, "want": text(out)})

rows = [0, 1, 100, 256]
with open(os.path.join(here, "ipadapter.json"), "w") as f:
    json.dump({"about": "`worker models synth` (tiny, seed 0) by transformers and diffusers; value i of pixels and context is sin(0.37 i) + cos(i i / 100000)",
               "rows": rows, "hidden": text(seen.hidden_states[-2][0, rows]), "embedding": text(seen.image_embeds), "projections": projections, "cases": cases}, f)
