"""import.py model STORED UNET.pt VAE.pt | controlnet STORED OUT.pt: reads files of models/demo again, to train on from them."""

from __future__ import annotations

import sys

import torch
from safetensors.numpy import load_file

from controlnet import ControlNet
from storage import unet_name, unpack, vae_name
from unet import UNet
from vae import VAE


def model(path: str, unet_path: str, vae_path: str) -> None:
    stored = unpack(load_file(path))
    unet, vae = UNet(), VAE()
    weights = {k: stored["model.diffusion_model." + unet_name(k)].view(v.shape) for k, v in unet.state_dict().items()}
    torch.save({"unet": weights, "mean": weights}, unet_path)
    rest = {k: stored["latent." + k] if k in ("mean", "std") else stored["first_stage_model." + vae_name(k)].view(v.shape) for k, v in vae.state_dict().items()}
    torch.save(rest, vae_path)


def controlnet(path: str, out: str) -> None:
    stored, control = unpack(load_file(path)), ControlNet(UNet())
    weights = {}
    for name, v in control.state_dict().items():
        part, *rest = name.split(".")
        if part == "net":
            where = unet_name(".".join(rest))
        elif part == "hint":
            where = f"input_hint_block.{2 * int(rest[0])}.{rest[1]}"
        else:
            where = (f"zero_convs.{rest[0]}.0." if int(rest[0]) < 12 else "middle_block_out.0.") + rest[1]
        # The hint's convolutions are padded with zeros.
        weights[name] = stored["control_model." + where][tuple(slice(n) for n in v.shape)].reshape(v.shape).clone()
    torch.save(weights, out)


def main() -> None:
    match sys.argv[1:]:
        case ["model", path, unet_path, vae_path]:
            model(path, unet_path, vae_path)
        case ["controlnet", path, out]:
            controlnet(path, out)
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
