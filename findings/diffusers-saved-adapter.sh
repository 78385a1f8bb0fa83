#!/usr/bin/env bash
# diffusers 0.42.1 with peft 0.21.2: a network saved by save_pretrained() while a LoRA is on it does not come back. Its weights are in the
# file as "base_layer" beside the adapter's; from_pretrained() knows neither, warns, and leaves the layers on the device "meta" or, with
# low_cpu_mem_usage=False, at random values. After fuse_lora() and unload_lora() the same calls keep the weights.
#
# Expected: the layer with the LoRA comes back without values, or with others than were saved; without a LoRA with those that were.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.15.0 diffusers==0.42.1 transformers==5.24.0 peft==0.21.2 accelerate
"$dir/venv/bin/python" - "$dir" <<'PYTHON' 2>"$dir/log" || { cat "$dir/log"; exit 1; }
import sys
import torch
from diffusers import UNet2DConditionModel
from peft import LoraConfig

LAYER = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q"


def loaded(low):
    """What the layer holds after the folder was loaded."""
    net = UNet2DConditionModel.from_pretrained(sys.argv[1] + "/saved", low_cpu_mem_usage=low)
    weight = net.get_submodule(LAYER).weight
    return "no values" if weight.is_meta else "the saved values" if torch.equal(weight, saved) else "other values"


torch.manual_seed(0)
net = UNet2DConditionModel(
    block_out_channels=(32, 64), layers_per_block=1, cross_attention_dim=32, sample_size=8,
    down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
)
saved = net.get_submodule(LAYER).weight.detach().clone()
net.add_adapter(LoraConfig(r=4, target_modules=["to_q"]))
net.save_pretrained(sys.argv[1] + "/saved")
with_lora = [loaded(True), loaded(False)]
net.fuse_lora()  # of a LoRA that is not trained yet: it changes nothing
net.unload_lora()
net.save_pretrained(sys.argv[1] + "/saved")
fused = [loaded(True), loaded(False)]
print("saved with a LoRA on it, the layer comes back with", " or, without low_cpu_mem_usage, ".join(with_lora))
print("saved after fuse_lora() and unload_lora():", " and ".join(fused))
sys.exit(0 if with_lora == ["no values", "other values"] and fused == ["the saved values"] * 2 else "the behaviour has changed")
PYTHON
