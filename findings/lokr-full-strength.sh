#!/usr/bin/env bash
# peft 0.21.2 and lycoris-lora 4.1.3: a LoKr whose two factors are whole matrices (lokr_w1, lokr_w2; what both make when the rank
# is large for the layer) has another strength in each. lycoris multiplies by 1 and ignores alpha, peft by alpha/rank; and the tensors that
# peft saves hold neither, so that only its adapter_config.json beside them tells.
#
# Expected with rank 64 and alpha 1 on a layer of 32x32: 1 in lycoris, 1/64 in peft, no alpha among peft's tensors.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.15.0 peft==0.21.2 transformers==5.24.0 lycoris-lora==4.1.3 accelerate numpy
"$dir/venv/bin/python" - <<'PYTHON' 2>"$dir/log" || { cat "$dir/log"; exit 1; }
import sys, torch
from lycoris.modules.lokr import LokrModule
from peft import LoKrConfig, get_peft_model, get_peft_model_state_dict

torch.manual_seed(0)
torch.set_grad_enabled(False)
identity = torch.eye(32)


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.to_q = torch.nn.Linear(32, 32, bias=False)

    def forward(self, x):
        return self.to_q(x)


net = Net()
weight = net.to_q.weight.clone()
net = get_peft_model(net, LoKrConfig(r=64, alpha=1, target_modules=["to_q"], init_weights=False))
tensors = {name.split(".")[-1]: t for name, t in get_peft_model_state_dict(net).items()}
product = torch.kron(tensors["lokr_w1"], tensors["lokr_w2"])
peft = ((net(identity).T - weight).norm() / product.norm()).item()

layer = torch.nn.Linear(32, 32, bias=False)
weight = layer.weight.clone()
module = LokrModule("layer", layer, 1.0, 64, 1, factor=4)
module.lokr_w1.normal_()
module.lokr_w2.normal_()
module.apply_to()
lycoris = ((layer(identity).T - weight).norm() / torch.kron(module.lokr_w1, module.lokr_w2).norm()).item()

print(f"difference / kron(lokr_w1, lokr_w2): peft {peft:.4f}, lycoris {lycoris:.4f}; peft's tensors: {', '.join(sorted(tensors))}")
right = abs(peft - 1 / 64) < 1e-4 and abs(lycoris - 1) < 1e-3 and sorted(tensors) == ["lokr_w1", "lokr_w2"]
sys.exit(0 if right else "the behaviour has changed")
PYTHON
