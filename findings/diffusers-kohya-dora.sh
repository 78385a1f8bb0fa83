#!/usr/bin/env bash
# diffusers 0.42.1: a DoRA in kohya's format (lora_down, lora_up, alpha, dora_scale; what lycoris-lora 4.1.3 writes) is loaded
# without its magnitudes. dora_scale is filtered out, which only a log line tells, and the picture is that of another model;
# the other kinds that the loader does not know (LoHa, LoKr, IA3) are an error.
#
# Expected: the change of the UNet's output by the loaded file points elsewhere than that by the trained network (cosine below 0.9).
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.15.0 diffusers==0.42.1 peft==0.21.2 transformers==5.24.0 lycoris-lora==4.1.3 accelerate safetensors numpy
"$dir/venv/bin/python" - "$dir" <<'PYTHON' 2>"$dir/log" || { cat "$dir/log"; exit 1; }
import sys, torch
from diffusers import UNet2DConditionModel
from diffusers.loaders import StableDiffusionLoraLoaderMixin as loader
from lycoris import LycorisNetwork, create_lycoris
from safetensors.torch import save_file


def unet():
    torch.manual_seed(0)
    return UNet2DConditionModel(sample_size=8, block_out_channels=(32, 64), layers_per_block=1, cross_attention_dim=32, attention_head_dim=8,
                                down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"))


@torch.no_grad()
def output(net):
    torch.manual_seed(1)
    return net(torch.randn(1, 4, 8, 8), 10, torch.randn(1, 7, 32)).sample


LycorisNetwork.apply_preset({"enable_conv": False, "target_module": ["Transformer2DModel"]})
cosine = {}
for name, dora in ("LoRA", False), ("DoRA", True):
    net = unet()
    base = output(net)
    network = create_lycoris(net, 1.0, linear_dim=4, linear_alpha=1, algo="lora", dora_wd=dora)
    network.apply_to()
    torch.manual_seed(2)
    with torch.no_grad():
        for p in network.parameters():
            p.add_(torch.randn_like(p) * 0.2)
    trained = (output(net) - base).flatten()
    path = f"{sys.argv[1]}/{name}.safetensors"
    save_file({k.replace("lycoris_", "lora_unet_"): v.detach().clone() for k, v in network.state_dict().items()}, path)
    again = unet()
    loader.load_lora_into_unet(*loader.lora_state_dict(path), again)
    cosine[name] = torch.nn.functional.cosine_similarity(trained, (output(again) - base).flatten(), dim=0).item()
    print(f"{name}: cosine of trained and loaded change of the output {cosine[name]:.3f}")
sys.exit(0 if cosine["LoRA"] > 0.999 and cosine["DoRA"] < 0.9 else "the behaviour has changed")
PYTHON
