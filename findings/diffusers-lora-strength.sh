#!/usr/bin/env bash
# diffusers 0.42.1 with peft 0.21.2: a LoRA that is saved by save_lora_weights(unet_lora_layers=...), the call of most training
# scripts, and loaded again is weaker than the one that was trained. The file has neither lora_alpha nor use_rslora, and the
# loader takes alpha = rank. With unet_lora_adapter_metadata the header has both, and the strength is right.
#
# Expected: the reloaded up-projection is the trained one, scaled by 1.0 instead of 4.0 (alpha 16, rank 4), and by 1.0 instead of
# 2.0 (alpha 4, rank 4, rsLoRA). A reader of such files can know the strength only from the metadata "lora_adapter_metadata".
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.15.0 diffusers==0.42.1 peft==0.21.2 transformers==5.24.0 accelerate safetensors numpy
"$dir/venv/bin/python" - "$dir" <<'PYTHON' 2>"$dir/log" || { cat "$dir/log"; exit 1; }
import sys, torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from diffusers.loaders import StableDiffusionLoraLoaderMixin as loader
from peft import LoraConfig, get_peft_model_state_dict

folder = sys.argv[1]


def unet():
    torch.manual_seed(0)
    return UNet2DConditionModel(sample_size=8, block_out_channels=(32, 64), layers_per_block=1, cross_attention_dim=32, attention_head_dim=8,
                                down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"))


def strength(net):
    layer = next(m for n, m in net.named_modules() if n.endswith("attn1.to_q"))
    return next(iter(layer.scaling.values()))


bad = False
for settings, trained in (dict(r=4, lora_alpha=16), 4.0), (dict(r=4, lora_alpha=4, use_rslora=True), 2.0):
    net = unet()
    net.add_adapter(LoraConfig(target_modules=["to_q", "to_v"], init_lora_weights=False, **settings))
    layers = get_peft_model_state_dict(net)
    seen = [strength(net)]
    for metadata in None, net.peft_config["default"].to_dict():
        StableDiffusionPipeline.save_lora_weights(folder, unet_lora_layers=layers, unet_lora_adapter_metadata=metadata)
        again = unet()
        tensors, alphas, header = loader.lora_state_dict(folder, return_lora_metadata=True)
        loader.load_lora_into_unet(tensors, alphas, again, metadata=header)
        seen.append(strength(again))
    print(f"{settings}: trained at {seen[0]}, reloaded at {seen[1]}, reloaded with metadata at {seen[2]}")
    bad |= seen != [trained, 1.0, trained]
sys.exit("the behaviour has changed" if bad else 0)
PYTHON
