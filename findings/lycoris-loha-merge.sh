#!/usr/bin/env bash
# lycoris-lora 4.1.3: LohaModule.merge_to() multiplies the difference by alpha/rank once more than the forward pass does, so that a
# merged checkpoint is weaker than the network that was trained (with alpha 1 and rank 4, a quarter). LoCon agrees with itself.
#
# Expected: merged / forward is 1 for LoCon and alpha/rank for LoHa. The forward pass is what was trained: a reader follows it.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.15.0 lycoris-lora==4.1.3 numpy
"$dir/venv/bin/python" - <<'PYTHON' 2>"$dir/log" || { cat "$dir/log"; exit 1; }
import sys, torch
from lycoris.modules.locon import LoConModule
from lycoris.modules.loha import LohaModule

torch.manual_seed(0)
torch.set_grad_enabled(False)
ratios = []
for kind in LoConModule, LohaModule:
    for rank, alpha in (4, 1), (8, 2), (4, 4):
        layer = torch.nn.Linear(16, 16, bias=False)
        weight = layer.weight.clone()
        module = kind("layer", layer, multiplier=1.0, lora_dim=rank, alpha=alpha)
        for p in module.parameters():
            p.normal_(std=0.3)
        module.apply_to()
        forward = layer(torch.eye(16)).T - weight
        module.restore()
        module.merge_to(1.0)
        ratio = ((layer.weight - weight).norm() / forward.norm()).item()
        ratios.append((kind.__name__, alpha / rank, ratio))
        print(f"{kind.__name__} rank {rank} alpha {alpha}: merged / forward = {ratio:.4f}")
right = all(abs(ratio - (scale if kind == "LohaModule" else 1)) < 1e-3 for kind, scale, ratio in ratios)
sys.exit(0 if right else "the behaviour has changed")
PYTHON
