#!/usr/bin/env bash
# lycoris-lora 4.1.3: a DyLoRA module draws its rank anew at each call, in evaluation too, and multiplies the whole rank by
# alpha / (rank / block_size). Its file is a plain LoRA with that alpha, which every reader, lycoris too, multiplies by alpha / rank:
# it comes back weaker by block_size.
#
# Expected: the same input gives several outputs; loaded, the network acts a quarter as much as at its whole rank (block_size 4).
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.15.0 lycoris-lora==4.1.3 safetensors numpy
"$dir/venv/bin/python" - "$dir" <<'PYTHON' 2>"$dir/log" || { cat "$dir/log"; exit 1; }
import sys, torch
from lycoris.modules import get_module, make_module
from lycoris.modules.dylora import DyLoraModule
from safetensors.torch import load_file, save_file

torch.manual_seed(0)
x, linear = torch.randn(8, 32), torch.nn.Linear(32, 32, bias=False)
trained = DyLoraModule("layer", linear, 1.0, lora_dim=16, alpha=16, block_size=4)
with torch.no_grad():
    for p in trained.parameters():
        p.copy_(torch.randn_like(p) * 0.1)
trained.eval()
path = f"{sys.argv[1]}/layer.safetensors"
save_file({"layer." + k: v.detach().contiguous() for k, v in trained.state_dict().items()}, path)
kind, tensors = get_module(load_file(path), "layer")
loaded = make_module(kind, tensors, "layer", linear).eval()
with torch.no_grad():
    outputs = {round((trained(x) - linear(x)).norm().item(), 4) for _ in range(40)}
    whole = trained.get_diff_weight(rank=trained.lora_dim - trained.block_size)[0]
    ratio = ((loaded(x) - linear(x)).norm() / (x @ whole.T).norm()).item()
print(f"40 calls of one module with one input change the output by {sorted(outputs)}")
print(f"the file loads as {type(loaded).__name__} and acts {ratio:.3f} times as much as the whole rank of the trained module")
sys.exit(0 if len(outputs) == 4 and abs(ratio - 0.25) < 0.01 else "the behaviour has changed")
PYTHON
