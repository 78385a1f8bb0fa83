"""train_lora.py UNET.pt VAE.pt OUT.pt SECONDS: a LoRA that puts pictures in moonlight, the UNet being fixed."""

from __future__ import annotations

import random
import sys
import time

import numpy as np
import torch
from torch.func import functional_call

import drawings
from dataset import Prompts, build, load_vae
from lora import LoRA
from train_unet import WEIGHT, noisy, wanted
from unet import UNet

BATCH, POOL = 10, 300
STYLE = drawings.Style(night=True)


def main() -> None:
    unet_path, vae_path, out, seconds = *sys.argv[1:4], float(sys.argv[4])
    torch.set_num_threads(1)
    r = random.Random(5)
    torch.manual_seed(5)
    unet = UNet()
    unet.load_state_dict(torch.load(unet_path)["mean"])
    unet.requires_grad_(False)
    lora = LoRA(unet)
    weights = dict(unet.named_parameters())
    quick = UNet().requires_grad_(False)
    quick.load_state_dict(unet.state_dict())
    quick = quick.bfloat16().to(memory_format=torch.channels_last)
    data, prompts = build(load_vae(vae_path), POOL, 256, r, STYLE), Prompts()
    optimizer = torch.optim.AdamW(lora.parameters(), 2e-3, betas=(0.9, 0.98), weight_decay=0.0)
    begin, step, log = time.time(), 0, []
    while (done := (time.time() - begin) / seconds) < 1:
        ids = [r.randrange(POOL) for _ in range(BATCH)]
        words = ["" if r.random() < 0.1 else drawings.prompt(data["scenes"][i], r) for i in ids]
        x, t, noise = noisy(data["latents"][ids].float())
        x, merged = x.bfloat16().contiguous(memory_format=torch.channels_last), lora.merged(weights)
        guess = lambda words: functional_call(quick, merged, (x, t, *(v.bfloat16() for v in prompts(words)))).float()
        loss = ((guess(words) - wanted(guess, words, noise)).square().mean((1, 2, 3)) * WEIGHT[t]).mean()
        optimizer.zero_grad()
        loss.backward()
        for g in optimizer.param_groups:
            g["lr"] = 2e-3 * min(1, (step + 1) / 30) * (1 - 0.9 * done)
        optimizer.step()
        step += 1
        log.append(loss.item())
        if step % 25 == 0:
            print(f"{time.strftime('%H:%M:%S')} step {step} loss {np.mean(log[-25:]):.4f}", flush=True)
    torch.save(lora.state_dict(), out)


if __name__ == "__main__":
    main()
