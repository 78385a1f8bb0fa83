#!/usr/bin/env bash
# lycoris-lora 4.1.3: a rank-stable network (rs_lora) is trained with alpha / sqrt(rank). Its LoRA modules save an alpha that gives
# that strength back through alpha / rank, its GLoRA modules save the plain alpha: their file comes back weaker by sqrt(rank), in
# lycoris itself and in every other reader, since nothing else in it tells.
#
# Expected: of rank 16 the loaded LoRA changes the output as the trained one, the loaded GLoRA a quarter as much.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.15.0 lycoris-lora==4.1.3 safetensors numpy
"$dir/venv/bin/python" - "$dir" <<'PYTHON' 2>"$dir/log" || { cat "$dir/log"; exit 1; }
import sys, torch
from lycoris.modules import get_module, make_module
from lycoris.modules.glora import GLoRAModule
from lycoris.modules.locon import LoConModule
from safetensors.torch import load_file, save_file

torch.manual_seed(0)
x, linear = torch.randn(8, 32), torch.nn.Linear(32, 32, bias=False)


@torch.no_grad()
def change(module):
    return module.eval()(x) - linear(x)


ratio = {}
for cls in LoConModule, GLoRAModule:  # as lycoris.kohya makes them for the trainer's argument rs_lora=True
    trained = cls("layer", linear, 1.0, lora_dim=16, alpha=4, rs_lora=True)
    with torch.no_grad():
        for p in trained.parameters():
            p.copy_(torch.randn_like(p) * 0.1)
    path = f"{sys.argv[1]}/layer.safetensors"
    save_file({"layer." + k: v.contiguous() for k, v in trained.state_dict().items()}, path)
    kind, tensors = get_module(load_file(path), "layer")
    loaded = make_module(kind, tensors, "layer", linear)
    ratio[cls] = (change(loaded).norm() / change(trained).norm()).item()
    print(f"{cls.__name__}: alpha {load_file(path)['layer.alpha'].item():g} in the file, the loaded module changes the output {ratio[cls]:.3f} times as much as the trained one")
sys.exit(0 if abs(ratio[LoConModule] - 1) < 0.01 and abs(ratio[GLoRAModule] - 0.25) < 0.01 else "the behaviour has changed")
PYTHON
