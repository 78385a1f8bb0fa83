"""A LoRA on the UNet of unet.py: low-rank additions to its convolutions and linear layers."""

from __future__ import annotations

import torch
from torch import nn

from storage import unet_name
from unet import UNet

RANK = 4
DIFFUSERS = {
    "in_layers.2": "conv1", "out_layers.3": "conv2", "emb_layers.1": "time_emb_proj", "skip_connection": "conv_shortcut",
}


def kohya_name(weight: str) -> str:
    """lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_q for m.i4t.a2.q.weight."""
    parts = unet_name(weight).removesuffix(".weight").split(".")
    side, n, index, rest = parts[0], int(parts[1]), parts[2], ".".join(parts[3:])
    if side == "middle_block":
        # Its parts are numbered in one row: residual block, transformer, residual block.
        rest, kind, where = ".".join(parts[2:]), "attentions" if n == 1 else "resnets", "mid_block"
        number = 0 if n == 1 else n // 2
    else:
        block, number = ((n - 1) // 3, (n - 1) % 3) if side == "input_blocks" else (n // 3, n % 3)
        where = f"{'down' if side == 'input_blocks' else 'up'}_blocks_{block}"
        kind = "resnets" if index == "0" else "attentions"
    return f"lora_unet_{where}_{kind}_{number}_{DIFFUSERS.get(rest, rest).replace('.', '_')}"


def targets(unet: UNet) -> list[str]:
    """The weights that get an addition: all in transformers, and the convolutions of residual blocks."""
    return [n for n, p in unet.named_parameters() if n.startswith("m.") and p.ndim >= 2 and n.split(".")[1][-1] in "rt" and ".emb." not in n and ".skip." not in n]


class LoRA(nn.Module):
    def __init__(self, unet: UNet, rank: int = RANK):
        super().__init__()
        self.names = targets(unet)
        weights = dict(unet.named_parameters())
        self.down = nn.ParameterList([nn.Parameter(torch.randn(rank, *weights[n].shape[1:]) * weights[n][0].numel() ** -0.5) for n in self.names])
        self.up = nn.ParameterList([nn.Parameter(torch.zeros(weights[n].shape[0], rank)) for n in self.names])

    def merged(self, weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The weights with the additions, in bfloat16, for functional_call."""
        out = {}
        for n, down, up in zip(self.names, self.down, self.up):
            w = weights[n]
            out[n] = (w + (up @ down.flatten(1)).view(w.shape)).bfloat16()
            if w.ndim == 4:
                out[n] = out[n].contiguous(memory_format=torch.channels_last)
        return out

    def tensors(self) -> dict[str, torch.Tensor]:
        """Under kohya's names. Alpha is twice the rank, so it acts twice as strongly as it was trained:
        after a short training the style is half as strong as in the drawings."""
        out = {}
        for n, down, up in zip(self.names, self.down, self.up):
            name = kohya_name(n)
            out[name + ".lora_down.weight"] = down.detach()
            out[name + ".lora_up.weight"] = up.detach().view(*up.shape, *[1] * (down.ndim - 2))
            out[name + ".alpha"] = torch.tensor(2.0 * len(down))
        return out
