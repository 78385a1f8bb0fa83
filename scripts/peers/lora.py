"""Merges adapter files into random weights with LyCORIS' own modules in PyTorch, and prints how long that takes.

    lora.py [--threads N] [--runs N] FILE...      needs torch and lycoris-lora

For each file one line of JSON: {"file": ..., "read": s, "merge": s, "error": "..."}. Read is the file alone into float32;
merge makes LyCORIS' modules of the tensors and adds their differences to float32 weights of the layers' shapes, the
shortest of some runs. `worker bench lora --folder FOLDER` leaves the files there.
"""

import argparse
import json
import math
import time

import torch
from lycoris.modules import get_module, make_module
from safetensors.torch import load_file


def shape_of(parts):
    """The shape of the layer that the parts of a module are for."""
    if "diff" in parts:
        return parts["diff"].shape
    if "lora_up.weight" in parts:
        up, down, mid = parts["lora_up.weight"], parts["lora_down.weight"], parts.get("lora_mid.weight")
        return (up.shape[0], down.shape[1], *(mid if mid is not None else down).shape[2:])
    if "lokr_w1" in parts:
        a, b = parts["lokr_w1"], parts["lokr_w2"]
        return (a.shape[0] * b.shape[0], a.shape[1] * b.shape[1], *b.shape[2:])
    if "hada_w1_a" in parts:
        return (parts["hada_w1_a"].shape[0], parts["hada_w1_b"].shape[1])
    if "a1.weight" in parts:
        return (parts["b1.weight"].shape[0], parts["a1.weight"].shape[0])
    return None  # rotations and factors of rows do not tell the inputs


def layer(shape):
    if len(shape) == 2:
        made = torch.nn.utils.skip_init(torch.nn.Linear, shape[1], shape[0])
    else:
        made = torch.nn.utils.skip_init(torch.nn.Conv2d, shape[1], shape[0], tuple(shape[2:]), padding=shape[2] // 2)
    for parameter in made.parameters():
        torch.nn.init.constant_(parameter, 0.01)
    return made


def merge(modules):
    for parts, original in modules:
        with_prefix = {"m." + role: value for role, value in parts.items()}
        for role, axis in (("lora_down.weight", 0), ("hada_w1_b", 0), ("a2.weight", 0), ("lokr_w1", 0)):
            if role in parts:  # LyCORIS divides alpha by the rank again
                with_prefix.setdefault("m.alpha", torch.tensor(float(parts[role].shape[axis])))
        kind, params = get_module(with_prefix, "m")
        module = make_module(kind, params, "m", original)
        if module is None:
            raise ValueError("LyCORIS does not know the kind")
        module.merge_to(1.0)


def measure(path, runs):
    started = time.perf_counter()
    tensors = {name: value.float() for name, value in load_file(path).items()}
    read = time.perf_counter() - started
    groups = {}
    for name, value in tensors.items():
        module, role = name.split(".", 1)
        groups.setdefault(module, {})[role] = value
    best = math.inf
    for _ in range(runs):
        modules = []
        for parts in groups.values():
            shape = shape_of(parts)
            if shape is None:
                raise ValueError("the file does not tell the layers' shapes")
            modules.append((parts, layer(shape)))
        started = time.perf_counter()
        merge(modules)
        best = min(best, time.perf_counter() - started)
    return {"file": path, "read": read, "merge": best}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("files", nargs="+")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.set_grad_enabled(False)
    for path in arguments.files:
        try:
            result = measure(path, arguments.runs)
        except Exception as error:  # a kind that LyCORIS cannot merge is a result, too
            result = {"file": path, "error": f"{type(error).__name__}: {error}"}
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
