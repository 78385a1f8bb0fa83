#!/usr/bin/env python3
"""Records recorded.tensors: adapters as real libraries save them, and the
weights that their trained modules act with.

    pip install torch safetensors lycoris-lora==4.1.3 peft==0.21.2 diffusers==0.42.1 einops
    python record.py

A case CASE has the tensors CASE|file|KEY of an adapter file, its header's metadata in
the metadata CASE, and for each changed parameter CASE|base|NAME and CASE|want|NAME.
The wanted weight comes from the forward pass, since LyCORIS' merge_to() multiplies
LoHa and LoKr once too often.
"""
import copy
import json
import warnings

import torch
from safetensors.torch import save_file

warnings.filterwarnings("ignore")
from lycoris.modules.boft import ButterflyOFTModule
from lycoris.modules.diag_oft import DiagOFTModule
from lycoris.modules.full import FullModule
from lycoris.modules.glora import GLoRAModule
from lycoris.modules.ia3 import IA3Module
from lycoris.modules.locon import LoConModule
from lycoris.modules.loha import LohaModule
from lycoris.modules.lokr import LokrModule
from lycoris.modules.norms import NormModule

torch.manual_seed(5)
OUT, tensors, metadata = {}, {}, {}
LINEAR = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"
CONV = "lora_unet_mid_block_resnets_0_conv1"
NORM = "lora_unet_mid_block_resnets_0_norm1"
TARGETS = {
    LINEAR: "model.diffusion_model.middle_block.1.transformer_blocks.0.attn1.to_q",
    CONV: "model.diffusion_model.middle_block.0.in_layers.2",
    NORM: "model.diffusion_model.middle_block.0.in_layers.0",
}


def base(name):
    if name == LINEAR:
        return torch.nn.Linear(24, 40)
    if name == CONV:
        return torch.nn.Conv2d(8, 40, 3, padding=1)
    m = torch.nn.GroupNorm(4, 40)
    torch.nn.init.normal_(m.weight)
    torch.nn.init.normal_(m.bias)
    return m


def acting(m, f):
    """The weight and bias of the affine map f that stands for module m."""
    with torch.no_grad():
        if isinstance(m, torch.nn.Linear):
            zero = f(torch.zeros(1, m.in_features))[0]
            return (f(torch.eye(m.in_features)) - zero).T.contiguous(), zero
        if isinstance(m, torch.nn.Conv2d):
            n = m.in_channels
            x = torch.zeros(n + 1, n, 3, 3)
            for i in range(n):
                x[i, i, 1, 1] = 1
            y = f(x)
            zero = y[n]
            return (y[:n] - zero).flip(2, 3).transpose(0, 1).contiguous(), zero[:, 1, 1].contiguous()
        zero = f(torch.zeros(1, 40, 2, 2))[0, :, 0, 0]
        x = torch.randn(1, 40, 2, 2)
        normed = torch.nn.functional.group_norm(x, 4)
        return ((f(x)[0] - zero[:, None, None]) / normed[0])[:, 0, 0].contiguous(), zero


def put(case, name, m, weight, bias, state, prefix=True, target=None):
    target = target or TARGETS[name]
    for k, v in state.items():
        tensors[f"{case}|file|{name + '.' + k if prefix else k}"] = v.detach().clone().contiguous()
    tensors[f"{case}|base|{target}.weight"] = m.weight.detach().clone()
    tensors[f"{case}|want|{target}.weight"] = weight.detach().clone()
    if m.bias is not None:
        tensors[f"{case}|base|{target}.bias"] = m.bias.detach().clone()
        tensors[f"{case}|want|{target}.bias"] = bias.detach().clone()


def lycoris(case, cls, name, k=0.3, **o):
    m = base(name)
    kept = copy.deepcopy(m)
    net = cls(name, m, 1.0, **o)
    if cls is FullModule:
        net.apply_to()  # until then its state is not that of a trained one
    with torch.no_grad():
        for key, p in net.named_parameters():
            if "dora_scale" in key:
                p.mul_(1 + 0.5 * torch.rand_like(p))
            elif key == "rescale":
                p.mul_(1 + 0.5 * torch.rand_like(p))
            else:
                p.copy_(torch.randn_like(p) * k)
    net.eval()
    state = net.state_dict()
    weight, bias = acting(kept, net.forward)
    put(case, name, kept, weight, bias, state)


for name, short in ((LINEAR, "linear"), (CONV, "conv")):
    tucker = short == "conv"
    lycoris(f"locon {short}", LoConModule, name, lora_dim=4, alpha=2)
    lycoris(f"locon rs {short}", LoConModule, name, lora_dim=4, alpha=2, rs_lora=True)
    lycoris(f"locon scalar {short}", LoConModule, name, lora_dim=4, alpha=2, use_scalar=True)
    lycoris(f"dora out {short}", LoConModule, name, lora_dim=4, alpha=2, weight_decompose=True)
    lycoris(f"dora in {short}", LoConModule, name, lora_dim=4, alpha=2, weight_decompose=True, wd_on_out=False)
    lycoris(f"loha {short}", LohaModule, name, lora_dim=4, alpha=2)
    lycoris(f"loha rs scalar {short}", LohaModule, name, lora_dim=4, alpha=2, rs_lora=True, use_scalar=True)
    lycoris(f"loha dora {short}", LohaModule, name, lora_dim=4, alpha=2, weight_decompose=True)
    lycoris(f"lokr whole {short}", LokrModule, name, lora_dim=40, alpha=2, factor=4)
    lycoris(f"lokr full matrix {short}", LokrModule, name, lora_dim=2, alpha=1, factor=4, full_matrix=True)
    lycoris(f"lokr parts {short}", LokrModule, name, lora_dim=2, alpha=1, factor=4)
    lycoris(f"lokr unbalanced {short}", LokrModule, name, lora_dim=2, alpha=1, factor=4, unbalanced_factorization=True)
    lycoris(f"lokr both {short}", LokrModule, name, lora_dim=2, alpha=1, factor=8, decompose_both=True, rs_lora=True)
    lycoris(f"lokr dora {short}", LokrModule, name, lora_dim=2, alpha=1, factor=4, weight_decompose=True)
    lycoris(f"lokr dora in {short}", LokrModule, name, lora_dim=2, alpha=1, factor=4, weight_decompose=True, wd_on_out=False)
    lycoris(f"full {short}", FullModule, name)
    lycoris(f"glora {short}", GLoRAModule, name, lora_dim=4, alpha=2)
    lycoris(f"ia3 {short}", IA3Module, name)
    lycoris(f"oft {short}", DiagOFTModule, name, lora_dim=5)
    lycoris(f"oft constrained rescaled {short}", DiagOFTModule, name, lora_dim=5, constraint=0.02, rescaled=True)
    lycoris(f"boft {short}", ButterflyOFTModule, name, lora_dim=10)
    lycoris(f"boft constrained rescaled {short}", ButterflyOFTModule, name, lora_dim=10, constraint=0.02, rescaled=True)
lycoris("ia3 on input linear", IA3Module, LINEAR, train_on_input=True)
lycoris("ia3 on input conv", IA3Module, CONV, train_on_input=True)
lycoris("locon tucker", LoConModule, CONV, lora_dim=4, alpha=2, use_tucker=True)
lycoris("loha tucker", LohaModule, CONV, lora_dim=4, alpha=2, use_tucker=True)
lycoris("lokr tucker", LokrModule, CONV, lora_dim=2, alpha=1, factor=2, use_tucker=True)
lycoris("norm", NormModule, NORM)


def peft(case, keep, strip=True, **o):
    """A module trained by PEFT, saved by PEFT itself or by diffusers."""
    from diffusers.utils import convert_state_dict_to_kohya
    from peft import LoraConfig, inject_adapter_in_model
    from peft.utils import get_peft_model_state_dict

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.mid_block = torch.nn.Module()
            self.mid_block.resnets = torch.nn.ModuleList([torch.nn.Module()])
            self.mid_block.resnets[0].conv1 = base(CONV)
            self.mid_block.attentions = torch.nn.ModuleList([torch.nn.Module()])
            self.mid_block.attentions[0].proj_in = base(LINEAR)

    net = Net()
    modules = {"mid_block.resnets.0.conv1": net.mid_block.resnets[0].conv1, "mid_block.attentions.0.proj_in": net.mid_block.attentions[0].proj_in}
    config = LoraConfig(r=4, target_modules=list(modules), init_lora_weights=False, **o)
    net = inject_adapter_in_model(config, net).eval()
    with torch.no_grad():
        for key, p in net.named_parameters():
            if "lora_" in key:
                p.copy_(p * (1 + torch.rand_like(p)) if "magnitude" in key else torch.randn_like(p) * 0.3)
    state = get_peft_model_state_dict(net)
    if keep == "kohya":
        state = convert_state_dict_to_kohya({"unet." + k: v for k, v in state.items()})
        state = {"lora_" + k.removeprefix("lora_"): v for k, v in state.items()}
    elif keep == "diffusers":
        state = {"unet." + k: v for k, v in state.items()}
        keys = {k: list(v) if isinstance(v, set) else v for k, v in config.to_dict().items()}
        metadata[case] = json.dumps({"lora_adapter_metadata": json.dumps({"unet." + k: v for k, v in keys.items()}, indent=2, sort_keys=True, default=str)})
    else:
        state = {keep + k: v for k, v in state.items()}
    named = dict(net.named_modules())
    for path, target in (("mid_block.resnets.0.conv1", TARGETS[CONV]), ("mid_block.attentions.0.proj_in", "model.diffusion_model.middle_block.1.proj_in")):
        m = modules[path]
        weight, bias = acting(m, named[path].forward)
        put(case, path, m, weight, bias, {}, target=target)
    for k, v in state.items():
        tensors[f"{case}|file|{k}"] = torch.as_tensor(v).detach().clone().contiguous()


peft("peft lora", "base_model.model.", lora_alpha=4)
peft("diffusers lora", "diffusers", lora_alpha=8)
peft("diffusers rslora", "diffusers", lora_alpha=8, use_rslora=True)
peft("diffusers alpha pattern", "diffusers", lora_alpha=8, alpha_pattern={"proj_in": 2}, rank_pattern={"conv1": 2})
peft("diffusers dora", "diffusers", lora_alpha=8, use_dora=True)
peft("diffusers lora bias", "diffusers", lora_alpha=8, lora_bias=True)
try:
    peft("kohya from peft", "kohya", lora_alpha=4)
except Exception as e:  # the exporter needs the alphas
    print("kohya:", e)



def peft_other(case, config, named_like="base_model.model.", wrong_json=True, conv=True):
    """Other kinds of PEFT, saved by PEFT. The wanted weights are merge's: for a convolution
    the forward pass of OFT adds overlapping patches, which is no convolution."""
    from peft import inject_adapter_in_model
    from peft.utils import get_peft_model_state_dict

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.mid_block = torch.nn.Module()
            self.mid_block.resnets = torch.nn.ModuleList([torch.nn.Module()])
            self.mid_block.resnets[0].conv1 = torch.nn.Conv2d(8, 40, 3, padding=1)
            self.mid_block.attentions = torch.nn.ModuleList([torch.nn.Module()])
            self.mid_block.attentions[0].proj_in = torch.nn.Linear(24, 40)

    net = Net()
    paths = {"mid_block.attentions.0.proj_in": "model.diffusion_model.middle_block.1.proj_in"}
    if conv:
        paths["mid_block.resnets.0.conv1"] = TARGETS[CONV]
    kept = {path: copy.deepcopy(net.get_submodule(path)) for path in paths}
    net = inject_adapter_in_model(config(list(paths)), net).eval()
    with torch.no_grad():
        for key, p in net.named_parameters():
            if "oft_" in key or "ia3" in key:
                p.copy_(1 + 0.5 * torch.randn_like(p) if "_s" in key.split(".")[-2] or "ia3" in key else torch.randn_like(p) * 0.2)
    state = get_peft_model_state_dict(net)
    if named_like == "onetrainer":
        state = {"lora_unet_" + k.removesuffix(".oft_R.weight").replace(".", "_") + ".oft_R.weight": v for k, v in state.items()}
    else:
        state = {named_like + k: v for k, v in state.items()}
    settings = {k: list(v) if isinstance(v, set) else v for k, v in config(list(paths)).to_dict().items()}
    metadata[case] = json.dumps({"adapter_config": json.dumps(settings, default=str)})
    for path, target in paths.items():
        layer = net.get_submodule(path)
        layer.merge(safe_merge=True)
        m = layer.get_base_layer()
        put(case, path, kept[path], m.weight, m.bias, {}, target=target)
    for k, v in state.items():
        tensors[f"{case}|file|{k}"] = torch.as_tensor(v).detach().clone().contiguous()


from peft import BOFTConfig, IA3Config, OFTConfig

peft_other("peft oft", lambda t: OFTConfig(oft_block_size=8, r=0, target_modules=t))
peft_other("peft oft shared", lambda t: OFTConfig(oft_block_size=8, r=0, block_share=True, target_modules=t))
peft_other("peft oft exact", lambda t: OFTConfig(oft_block_size=4, r=0, use_cayley_neumann=False, target_modules=t))
peft_other("peft oft of 8 terms", lambda t: OFTConfig(oft_block_size=4, r=0, num_cayley_neumann_terms=8, target_modules=t))
peft_other("peft oft constrained", lambda t: OFTConfig(oft_block_size=4, r=0, coft=True, eps=0.3, target_modules=t))
peft_other("onetrainer oft 2", lambda t: OFTConfig(oft_block_size=8, r=0, target_modules=t), named_like="onetrainer")
peft_other("peft boft", lambda t: BOFTConfig(boft_block_size=4, boft_n_butterfly_factor=2, target_modules=t), conv=False)
peft_other("peft boft of one stage", lambda t: BOFTConfig(boft_block_size=6, boft_n_butterfly_factor=1, target_modules=t))
peft_other("peft boft of a convolution", lambda t: BOFTConfig(boft_block_size=6, boft_n_butterfly_factor=2, target_modules=t))
peft_other("peft ia3", lambda t: IA3Config(target_modules=t, feedforward_modules=[]))
peft_other("peft ia3 of inputs", lambda t: IA3Config(target_modules=t, feedforward_modules=t))

def lycoris_bypass(case, cls, name, **o):
    """In bypass mode LyCORIS adds to the layer's output instead of its weight, and saves
    the same tensors. OFT then turns the layer's bias, too, which its file does not tell:
    those layers have none."""
    m = base(name)
    if "oft" in case:
        m.bias = None
    kept = copy.deepcopy(m)
    net = cls(name, m, 1.0, bypass_mode=True, **o)
    net.apply_to()
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(torch.randn_like(p) * 0.3)
    net.eval()
    weight, bias = acting(kept, m.forward)
    put(case, name, kept, weight, bias, net.state_dict())


for name, short in ((LINEAR, "linear"), (CONV, "conv")):
    lycoris_bypass(f"bypass locon {short}", LoConModule, name, lora_dim=4, alpha=2)
    lycoris_bypass(f"bypass loha {short}", LohaModule, name, lora_dim=4, alpha=2)
    lycoris_bypass(f"bypass lokr {short}", LokrModule, name, lora_dim=2, alpha=1, factor=4)
    lycoris_bypass(f"bypass oft {short}", DiagOFTModule, name, lora_dim=5)


def peft_with_modules_to_save(case, prefix):
    """A convolution and a norm trained as a whole beside the factors of a linear layer."""
    from peft import LoraConfig, get_peft_model
    from peft.utils import get_peft_model_state_dict

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.mid_block = torch.nn.Module()
            self.mid_block.resnets = torch.nn.ModuleList([torch.nn.Module()])
            self.mid_block.resnets[0].conv1 = base(CONV)
            self.mid_block.resnets[0].norm1 = base(NORM)
            self.mid_block.attentions = torch.nn.ModuleList([torch.nn.Module()])
            self.mid_block.attentions[0].proj_in = base(LINEAR)

        def forward(self, x):
            return x

    net = Net()
    paths = {"mid_block.resnets.0.conv1": TARGETS[CONV], "mid_block.resnets.0.norm1": TARGETS[NORM], "mid_block.attentions.0.proj_in": "model.diffusion_model.middle_block.1.proj_in"}
    kept = {path: copy.deepcopy(net.get_submodule(path)) for path in paths}
    net = get_peft_model(net, LoraConfig(r=4, lora_alpha=4, target_modules=["proj_in"], modules_to_save=["conv1", "norm1"], init_lora_weights=False)).eval()
    with torch.no_grad():
        for key, p in net.named_parameters():
            if "lora_" in key or "modules_to_save" in key:
                p.copy_(torch.randn_like(p) * 0.3)
    state = {prefix + k.removeprefix("base_model.model."): v for k, v in get_peft_model_state_dict(net).items()}
    for path, target in paths.items():
        weight, bias = acting(kept[path], net.base_model.model.get_submodule(path).forward)
        put(case, path, kept[path], weight, bias, {}, target=target)
    for k, v in state.items():
        tensors[f"{case}|file|{k}"] = v.detach().clone().contiguous()


peft_with_modules_to_save("peft modules to save", "base_model.model.")
peft_with_modules_to_save("diffusers modules to save", "unet.")


def diffusers_unet(case, old):
    """A UNet of diffusers that saves its own adapter: today's save_lora_adapter, or what
    save_attn_procs wrote until 2023, where each projection's output got up(down(x))."""
    import tempfile

    from diffusers import UNet2DConditionModel
    from peft import LoraConfig
    from safetensors import safe_open

    unet = UNet2DConditionModel(
        block_out_channels=(8, 8), norm_num_groups=4, cross_attention_dim=16, attention_head_dim=4, layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
    )
    block, target = "mid_block.attentions.0.transformer_blocks.0.", "model.diffusion_model.middle_block.1.transformer_blocks.0."
    layers = [block + x for x in ("attn1.to_q", "attn2.to_k", "attn2.to_out.0")]
    kept = {path: copy.deepcopy(unet.get_submodule(path)) for path in layers}
    if old:
        for path in layers:
            m = kept[path]
            up, down = torch.randn(m.out_features, 4) * 0.3, torch.randn(4, m.in_features) * 0.3
            name = path.removesuffix(".0").replace("attn1.", "attn1.processor.").replace("attn2.", "attn2.processor.") + "_lora."
            tensors[f"{case}|file|{name}down.weight"], tensors[f"{case}|file|{name}up.weight"] = down, up
            put(case, path, m, m.weight + up @ down, m.bias, {}, target=target + path.removeprefix(block))
        return
    unet.add_adapter(LoraConfig(r=4, lora_alpha=8, target_modules=r"mid_block.*(attn1\.to_q|attn2\.to_k|attn2\.to_out\.0)", init_lora_weights=False))
    with tempfile.TemporaryDirectory() as folder:
        unet.save_lora_adapter(folder)
        with safe_open(folder + "/pytorch_lora_weights.safetensors", "pt") as f:
            metadata[case] = json.dumps(f.metadata())
            for k in f.keys():
                tensors[f"{case}|file|{k}"] = f.get_tensor(k)
    for path in layers:
        weight, bias = acting(kept[path], unet.get_submodule(path).forward)
        put(case, path, kept[path], weight, bias, {}, target=target + path.removeprefix(block))


diffusers_unet("diffusers save_lora_adapter", False)
diffusers_unet("diffusers save_attn_procs", True)


def peft_tuner(case, config):
    """Kinds of PEFT that other libraries do not have, saved by PEFT; the weights are those
    that it merges."""
    import tempfile

    from peft import get_peft_model
    from safetensors.torch import load_file

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.mid_block = torch.nn.Module()
            self.mid_block.resnets = torch.nn.ModuleList([torch.nn.Module()])
            self.mid_block.resnets[0].conv1 = torch.nn.Conv2d(8, 40, 3, padding=1)
            self.mid_block.resnets[0].norm1 = base(NORM)
            self.mid_block.attentions = torch.nn.ModuleList([torch.nn.Module()])
            self.mid_block.attentions[0].proj_in = torch.nn.Linear(24, 40)

        def forward(self, x):
            return self.mid_block.attentions[0].proj_in(x)

    net = Net()
    config = config(["proj_in"], ["conv1"], ["norm1"])
    paths = {"mid_block.attentions.0.proj_in": "model.diffusion_model.middle_block.1.proj_in", "mid_block.resnets.0.conv1": TARGETS[CONV], "mid_block.resnets.0.norm1": TARGETS[NORM]}
    kept = {path: copy.deepcopy(net.get_submodule(path)) for path in paths if path.split(".")[-1] in config.target_modules}
    model = get_peft_model(net, config).eval()
    with torch.no_grad():
        for p in model.parameters():
            if p.requires_grad:
                p.add_(torch.randn_like(p) * 0.3)
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        settings = open(folder + "/adapter_config.json").read()
        for k, v in load_file(folder + "/adapter_model.safetensors").items():
            tensors[f"{case}|file|{k}"] = v.contiguous()
    metadata[case] = json.dumps({"adapter_config": settings})
    plain = model.merge_and_unload()
    for path, m in kept.items():
        after = plain.get_submodule(path)
        put(case, path, m, after.weight, after.bias, {}, target=paths[path])


import peft as P

peft_tuner("peft adalora", lambda lin, conv, norm: P.AdaLoraConfig(init_r=4, target_r=2, lora_alpha=8, total_step=10, target_modules=lin + conv))
peft_tuner("peft vera", lambda lin, conv, norm: P.VeraConfig(r=4, target_modules=lin))
peft_tuner("peft delora", lambda lin, conv, norm: P.DeloraConfig(r=4, target_modules=lin))
peft_tuner("peft gralora", lambda lin, conv, norm: P.GraloraConfig(r=8, alpha=12, gralora_k=2, target_modules=lin))
peft_tuner("peft gralora with a whole part", lambda lin, conv, norm: P.GraloraConfig(r=8, gralora_k=4, hybrid_r=2, target_modules=lin))
peft_tuner("peft miss", lambda lin, conv, norm: P.MissConfig(r=8, target_modules=lin))
peft_tuner("peft miss of a remainder", lambda lin, conv, norm: P.MissConfig(r=7, target_modules=lin))
peft_tuner("peft miss bat", lambda lin, conv, norm: P.MissConfig(r=8, init_weights="bat", target_modules=lin))
peft_tuner("peft miss mini", lambda lin, conv, norm: P.MissConfig(r=8, init_weights="mini", mini_r=4, target_modules=lin))
peft_tuner("peft c3a", lambda lin, conv, norm: P.C3AConfig(block_size=8, target_modules=lin))
peft_tuner("peft shira", lambda lin, conv, norm: P.ShiraConfig(r=2, target_modules=lin))
peft_tuner("peft hira", lambda lin, conv, norm: P.HiraConfig(r=4, target_modules=lin + conv))
peft_tuner("peft hra", lambda lin, conv, norm: P.HRAConfig(r=4, target_modules=lin + conv))
peft_tuner("peft hra orthogonal", lambda lin, conv, norm: P.HRAConfig(r=4, apply_GS=True, target_modules=lin + conv))
for variant in ("road_1", "road_2", "road_4"):
    peft_tuner("peft " + variant, lambda lin, conv, norm: P.RoadConfig(variant=variant, group_size=8, target_modules=lin))
peft_tuner("peft beft", lambda lin, conv, norm: P.BeftConfig(target_modules=lin))
peft_tuner("peft ln tuning", lambda lin, conv, norm: P.LNTuningConfig(target_modules=norm))
peft_tuner("peft loha", lambda lin, conv, norm: P.LoHaConfig(r=4, alpha=2, use_effective_conv2d=True, target_modules=lin + conv))
peft_tuner("peft lokr", lambda lin, conv, norm: P.LoKrConfig(r=2, alpha=3, use_effective_conv2d=True, decompose_both=True, decompose_factor=4, target_modules=lin + conv))
peft_tuner("peft lokr whole", lambda lin, conv, norm: P.LoKrConfig(r=32, alpha=3, target_modules=lin + conv))

save_file(tensors, "recorded.tensors", metadata)
print(len({k.split("|")[0] for k in tensors}), "cases,", sum(v.numel() * v.element_size() for v in tensors.values()), "bytes")
