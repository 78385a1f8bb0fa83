"""Training in bfloat16 with weights kept in full precision."""

from __future__ import annotations

import copy

import torch
from torch import nn


class Mixed:
    """AdamW on a net's weights; net.quick, a bfloat16 copy, computes the passes."""

    def __init__(self, net: nn.Module, weight_decay: float):
        # Weights, gradients and copies must lie alike: fused AdamW does not look at strides.
        self.net = net.to(memory_format=torch.channels_last)
        self.quick = copy.deepcopy(self.net).bfloat16()
        self.weights, self.copies = list(net.parameters()), list(self.quick.parameters())
        self.optimizer = torch.optim.AdamW(self.weights, 1e-3, betas=(0.9, 0.98), weight_decay=weight_decay, fused=True)

    def step(self, loss: torch.Tensor, rate: float) -> None:
        loss.backward()
        for w, c in zip(self.weights, self.copies):
            w.grad, c.grad = c.grad.float(), None
        for g in self.optimizer.param_groups:
            g["lr"] = rate
        nn.utils.clip_grad_norm_(self.weights, 1.0)
        self.optimizer.step()
        with torch.no_grad():
            torch._foreach_copy_(self.copies, self.weights)
