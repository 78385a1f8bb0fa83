"""Writes guidance.json: CFG rescale and dynamic thresholding by their published formulas.

pip install torch; python record_guidance.py
Rescale: Lin et al. 2023, section 3.4. Thresholding: the rules of sd-dynamic-thresholding
(mean or zero as start, largest value or deviation as measure, ranges by channel).
"""
import itertools
import json
import math
import os

import torch

torch.manual_seed(7)
torch.set_default_dtype(torch.float64)
cases = []


def numbers(x):
    return [round(float(v), 10) for v in x.flatten()]


def guided(cond, uncond, scale):
    return uncond + (cond - uncond) * scale


for phi in (0.3, 0.7, 1.0):
    cond, uncond = torch.randn(4, 3, 3) * 1.3 + 0.2, torch.randn(4, 3, 3)
    cfg = guided(cond, uncond, 7.5)
    want = phi * cfg * (cond.std() / cfg.std()) + (1 - phi) * cfg
    cases.append({"kind": "rescale", "phi": phi, "scale": 7.5, "cond": numbers(cond), "uncond": numbers(uncond), "want": numbers(want)})

for zero, deviation, whole, (percentile, phi) in itertools.product((False, True), (False, True), (False, True), ((1.0, 1.0), (0.9, 0.6))):
    cond, uncond = torch.randn(4, 3, 3) * 2 + 0.5, torch.randn(4, 3, 3)
    mimic, cfg = guided(cond, uncond, 7.0), guided(cond, uncond, 20.0)
    m, c = mimic.flatten(1), cfg.flatten(1)
    mean = c.mean(1, keepdim=True)
    m, centred = m - m.mean(1, keepdim=True), c - mean
    over = dict() if whole else dict(dim=1, keepdim=True)
    if deviation:
        wide, own = m.std(**over), centred.std(**over)
    else:
        wide = m.abs().max() if whole else m.abs().max(dim=1, keepdim=True).values
        own = torch.quantile(centred.abs(), percentile, **over)
    if zero:
        result = c * (wide / own)
    elif deviation:
        result = centred / own * wide + mean
    else:
        limit = torch.maximum(wide, own)
        result = torch.minimum(torch.maximum(centred, -limit), limit) / limit * wide + mean
    result = result * phi + c * (1 - phi)
    cases.append({"kind": "threshold", "zero": zero, "deviation": deviation, "whole": whole, "percentile": percentile, "phi": phi, "scale": 20.0, "mimic": 7.0,
                  "cond": numbers(cond), "uncond": numbers(uncond), "want": numbers(result)})

# APG: Sadat et al. 2024, algorithm 1, on the noise x - picture; a momentum that fades with the fourth power of a setting is the extension's.
def projected(diff, cond, eta, threshold):
    if threshold:
        diff = diff * min(1.0, threshold / float(diff.norm()))
    unit = cond / cond.norm()
    parallel = (diff * unit).sum() * unit
    return diff - parallel + eta * parallel


for momentum, adaptive, threshold, eta in ((0.5, 0.18, 15.0, 1.0), (-0.75, 0.0, 2.5, 0.0), (-0.5, 0.3, 0.0, 0.6), (0.0, 0.0, 0.0, 1.0), (0.5, 0.0, 1.0, 0.3)):
    average, calls = 0, []
    for timestep in (999, 600, 250):
        x, cond, uncond = torch.randn(4, 3, 3) * 5, torch.randn(4, 3, 3) * 1.3 + 0.2, torch.randn(4, 3, 3)
        share = momentum
        if timestep != 999 and adaptive > 0:
            share -= momentum * adaptive ** 4 * (1000 - timestep)
            share = max(share, 0) if momentum >= 0 else min(share, 0)
        average = (x - cond) - (x - uncond) + share * average
        want = x - ((x - cond) + (7.5 - 1) * projected(average, x - cond, eta, threshold))
        calls.append({"timestep": timestep, "x": numbers(x), "cond": numbers(cond), "uncond": numbers(uncond), "want": numbers(want)})
    cases.append({"kind": "projection", "momentum": momentum, "adaptive": adaptive, "threshold": threshold, "eta": eta, "scale": 7.5, "calls": calls})

# CFG-Zero*: Fan et al. 2025, equation 15, on the noise x - picture.
for scale in (1.0, 4.0, 7.5):
    x, cond, uncond = torch.randn(4, 3, 3) * 5, torch.randn(4, 3, 3), torch.randn(4, 3, 3)
    c, u = x - cond, x - uncond
    share = (c * u).sum() / (u * u).sum()
    cases.append({"kind": "zero", "scale": scale, "x": numbers(x), "cond": numbers(cond), "uncond": numbers(uncond),
                  "want": numbers(x - (u * share + scale * (c - u * share)))})

turns = {"Constant": lambda x, v: 1, "Linear Down": lambda x, v: 1 - x, "Half Cosine Down": lambda x, v: math.cos(x), "Cosine Down": lambda x, v: math.cos(x * 1.5707),
         "Linear Up": lambda x, v: x, "Half Cosine Up": lambda x, v: 1 - math.cos(x), "Cosine Up": lambda x, v: 1 - math.cos(x * 1.5707), "Power Up": lambda x, v: x ** v,
         "Power Down": lambda x, v: 1 - x ** v, "Linear Repeating": lambda x, v: abs((x * v) % 1 - 0.5) * 2, "Cosine Repeating": lambda x, v: math.cos(x * 6.28318 * v) * 0.5 + 0.5,
         "Sawtooth": lambda x, v: (x * v) % 1}
for mode, turn in turns.items():
    cases.append({"kind": "mode", "mode": mode, "value": 4.0, "low": 2.0, "scale": 9.0, "steps": 11, "want": [7 * turn(i / 10, 4.0) + 2 for i in range(11)]})

with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "guidance.json"), "w") as f:
    about = "Guidance of one image of 4 channels of 3x3: prompt (cond) and negative prompt (uncond), the scales and settings, and the guided values."
    f.write('{"about": ' + json.dumps(about) + ', "cases": [\n' + ",\n".join(map(json.dumps, cases)) + "\n]}\n")
