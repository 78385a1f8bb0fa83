"""The compact files under models/demo: names as in SD1.5's ldm layout, trained shapes, 8 bits.

A weight of 1024 values or more is stored as NAME (I8) and NAME.scale (F16, one a row); others are F16.
What is not stored changes nothing: a norm of weight 1 and bias 0, everything else 0.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file

import drawings
import text
from unet import UNet
from vae import VAE

Tensors = dict[str, torch.Tensor]

RESIDUAL = {"n1": "in_layers.0", "c1": "in_layers.2", "emb": "emb_layers.1", "n2": "out_layers.0", "c2": "out_layers.3", "skip": "skip_connection"}
BLOCK = "transformer_blocks.0."
TRANSFORMER = {
    "norm": "norm", "pin": "proj_in", "pout": "proj_out", "l1": BLOCK + "norm1", "l2": BLOCK + "norm2", "l3": BLOCK + "norm3",
    "f1": BLOCK + "ff.net.0.proj", "f2": BLOCK + "ff.net.2",
    **{f"a{i}.{k}": f"{BLOCK}attn{i}.to_{v}" for i in (1, 2) for k, v in {"q": "q", "k": "k", "v": "v", "o": "out.0"}.items()},
}


def unet_name(name: str) -> str:
    """input_blocks.4.0.in_layers.2.weight for m.i4r.c1.weight."""
    top = {"t0": "time_embed.0", "t2": "time_embed.2", "cin": "input_blocks.0.0", "nout": "out.0", "cout": "out.2"}
    module, kind = name.rsplit(".", 1)
    if module in top:
        return f"{top[module]}.{kind}"
    _, block, *part = module.split(".")
    side, n, op = {"i": "input_blocks", "m": "middle_block", "o": "output_blocks"}[block[0]], int(block[1:-1]), block[-1]
    if side == "middle_block":
        where = f"{side}.{n}"
    else:
        # An upsampler follows the residual block and, but for the innermost level, a transformer.
        index = {"r": 0, "d": 0, "t": 1, "u": 1 if n < 3 else 2}[op]
        where = f"{side}.{n}.{index}"
    inner = {"r": RESIDUAL, "t": TRANSFORMER, "d": {"": "op"}, "u": {"": "conv"}}[op][".".join(part)]
    return f"{where}.{inner}.{kind}"


def vae_name(name: str) -> str:
    """encoder.down.1.block.0.conv1.weight for enc.res.1.conv1.weight."""
    side, rest = name.split(".", 1)
    if rest.startswith("res.mid."):
        rest = rest.replace("res.mid.", "mid.block_1.")
    elif rest.startswith("res."):
        _, level, inner = rest.split(".", 2)
        rest = f"{'down' if side == 'enc' else 'up'}.{level}.block.0.{inner}"
    elif rest.startswith("down."):
        _, level, kind = rest.split(".")
        rest = f"down.{level}.downsample.conv.{kind}"
    elif rest.startswith("up."):
        _, level, kind = rest.split(".")
        rest = f"up.{level}.upsample.conv.{kind}"
    return f"{'encoder' if side == 'enc' else 'decoder'}.{rest}"


def pack(tensors: Tensors) -> dict[str, np.ndarray]:
    out: dict[str, np.ndarray] = {}
    for name, t in tensors.items():
        v = t.detach().float().contiguous()
        if v.ndim >= 2 and v.numel() >= 1024:
            rows = v.flatten(1)
            scale = (rows.abs().amax(1, keepdim=True) / 127).half().float().clamp(min=6e-8)
            out[name] = (rows / scale).round().clamp(-127, 127).to(torch.int8).view(v.shape).numpy()
            out[name + ".scale"] = scale[:, 0].half().numpy()
        else:
            out[name] = v.half().numpy()
    return out


def unpack(tensors: dict[str, np.ndarray]) -> Tensors:
    out = {}
    for name, v in tensors.items():
        if name.endswith(".scale"):
            continue
        t = torch.from_numpy(v).float()
        if v.dtype == np.int8:
            t = t * torch.from_numpy(tensors[name + ".scale"]).float().view(-1, *[1] * (t.ndim - 1))
        out[name] = t
    return out


def model_tensors(unet: Tensors, vae: Tensors) -> Tensors:
    """Both nets under their ldm names; unet and vae are state dicts."""
    out = {"model.diffusion_model." + unet_name(k): v for k, v in unet.items()}
    return out | {"first_stage_model." + vae_name(k): v for k, v in vae.items() if k not in ("mean", "std")}


def save_model(path: str, unet: UNet, vae: VAE) -> int:
    none, words, colours = text.codes()
    tensors = pack(model_tensors(unet.state_dict(), vae.state_dict()))
    tensors |= {
        "text.none": none, "text.words": np.stack([words[w] for w in text.WORDS]), "text.colours": np.stack([colours[c] for c in text.COLOURS]),
        "latent.mean": vae.mean.numpy(), "latent.std": vae.std.numpy(),
    }
    metadata = {
        "kind": "model", "unet.width": str(2 * unet.width), "unet.trained": str(unet.width),
        "encoder.width": "128", "encoder.trained": str(vae.enc.conv_in.out_channels),
        "decoder.width": "96", "decoder.trained": str(vae.dec.conv_out.in_channels),
        "text.words": json.dumps(text.WORDS), "text.colours": json.dumps(text.COLOURS), "text.hidden": drawings.HIDDEN,
        "text.synonyms": json.dumps({"objects": {k: v.split() for k, v in text.OBJECT_SYNONYMS.items() if k != drawings.HIDDEN},
                                     "places": {k: v.split() for k, v in text.PLACE_SYNONYMS.items()},
                                     "colours": {k: v.split() for k, v in text.COLOUR_SYNONYMS.items()},
                                     "separators": text.SEPARATORS, "barriers": text.BARRIERS}),
    }
    temporary = Path(path + ".tmp")
    save_file({k: np.ascontiguousarray(v) for k, v in tensors.items()}, temporary, metadata)
    temporary.rename(path)
    return Path(path).stat().st_size
