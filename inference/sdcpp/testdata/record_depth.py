"""Writes depth.json: what a tiny synthetic Depth Anything sees, computed by transformers.

    pip install torch transformers
    worker models synth --kind depth depth.safetensors
    python record_depth.py depth.safetensors
"""

import base64
import json
import os
import sys

import numpy as np
import torch
from safetensors.torch import load_file
from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation, Dinov2Config

here = os.path.dirname(os.path.abspath(__file__))


def text(x):
    return base64.b64encode(x.detach().numpy().astype(np.float32).tobytes()).decode()


def waves(n):
    i = torch.arange(n, dtype=torch.float64)
    return (torch.sin(i * 0.37) + torch.cos(i * i * 1e-5)).float()


# Transformers 5 calls the parts of attention otherwise than the files that are published.
renamed = {"attention.attention.query": "attention.q_proj", "attention.attention.key": "attention.k_proj",
           "attention.attention.value": "attention.v_proj", "attention.output.dense": "attention.o_proj"}


def load(path):
    state = {}
    for name, value in load_file(path).items():
        for old, new in renamed.items():
            name = name.replace(old, new)
        state[name] = value.float()
    return state


cases = []
for version, layers, h, w in [(1, [5, 6, 7, 8], 70, 70), (1, [5, 6, 7, 8], 70, 98), (2, [2, 4, 6, 8], 84, 56)]:
    backbone = Dinov2Config(hidden_size=128, num_hidden_layers=8, num_attention_heads=2, mlp_ratio=4, image_size=70, patch_size=14, out_indices=layers,
                            apply_layernorm=True, reshape_hidden_states=False)
    net = DepthAnythingForDepthEstimation(DepthAnythingConfig(
        backbone_config=backbone, reassemble_hidden_size=128, patch_size=14, reassemble_factors=[4, 2, 1, 0.5], neck_hidden_sizes=[16, 32, 64, 64],
        fusion_hidden_size=32, head_in_index=-1, head_hidden_size=32))
    left = net.load_state_dict(load(sys.argv[1]), strict=False)
    assert not left.unexpected_keys and all("mask_token" in k for k in left.missing_keys), left
    net.eval()
    with torch.no_grad():
        depth = net(waves(3 * h * w).reshape(1, 3, h, w)).predicted_depth[0]
    cases.append({"version": version, "h": h, "w": w, "want": text(depth)})
with open(os.path.join(here, "depth.json"), "w") as f:
    json.dump({"about": "`worker models synth --kind depth` (tiny, seed 0) by transformers; value i of pixels is sin(0.37 i) + cos(i i / 100000)",
               "cases": cases}, f)
