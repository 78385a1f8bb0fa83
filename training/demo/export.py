"""export.py model UNET.pt VAE.pt OUT | lora LORA.pt OUT | controlnet CONTROL.pt OUT: writes the files under models/demo."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from safetensors.numpy import save_file

from controlnet import ControlNet
from dataset import load_vae
from lora import LoRA
from storage import pack, save_model, unet_name
from unet import UNet

FILE_HINT = (16, 16, 32, 32, 96, 96, 256)  # SD1.5's widths.


def controlnet_tensors(control: ControlNet) -> dict[str, torch.Tensor]:
    """Names of SD1.5's control_model; the hint's convolutions padded with zeros to its widths, the others in trained shapes."""
    out = {"control_model." + unet_name(k.removeprefix("net.")): v for k, v in control.state_dict().items() if k.startswith("net.")}
    inner = (3, *FILE_HINT)
    outer = (*FILE_HINT, control.hint[-1].out_channels)
    for i, conv in enumerate(control.hint):
        weight, bias = torch.zeros(outer[i], inner[i], 3, 3), torch.zeros(outer[i])
        o, n = conv.weight.shape[:2]
        weight[:o, :n], bias[:o] = conv.weight.detach(), conv.bias.detach()
        out[f"control_model.input_hint_block.{2 * i}.weight"], out[f"control_model.input_hint_block.{2 * i}.bias"] = weight, bias
    for i, conv in enumerate(control.zero):
        name = f"control_model.zero_convs.{i}.0" if i < 12 else "control_model.middle_block_out.0"
        out[name + ".weight"], out[name + ".bias"] = conv.weight.detach(), conv.bias.detach()
    return out


def save(path: str, tensors: dict[str, torch.Tensor], metadata: dict[str, str]) -> None:
    temporary = Path(path + ".tmp")
    save_file(pack(tensors), temporary, metadata)
    temporary.rename(path)


def main() -> None:
    width = UNet().width
    widths = {"unet.width": str(2 * width), "unet.trained": str(width)}
    match sys.argv[1:]:
        case ["model", unet_path, vae_path, out]:
            unet = UNet()
            unet.load_state_dict(torch.load(unet_path)["mean"])
            save_model(out, unet, load_vae(vae_path))
        case ["lora", lora_path, out]:
            lora = LoRA(UNet())
            lora.load_state_dict(torch.load(lora_path))
            save(out, lora.tensors(), {"kind": "lora", **widths, "lora.name": "moonlight", "lora.words": "everything in moonlight: dark, bluish, less colour"})
        case ["controlnet", control_path, out]:
            control = ControlNet(UNet())
            control.load_state_dict(torch.load(control_path))
            save(out, controlnet_tensors(control), {"kind": "controlnet", **widths, "controlnet.name": "canny"})
        case _:
            sys.exit(__doc__)
    print(Path(out).stat().st_size, "bytes")


if __name__ == "__main__":
    main()
